"""The Unified Procedure Step service: workitems, what may be done to them, and who is told."""
