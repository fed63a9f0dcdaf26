"""What people read: the worklist and the studies as frozen values, in words, tables and CSV."""
