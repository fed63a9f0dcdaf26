"""Data sets: reading and checking a folder, the picture cache, the parts, batches."""
