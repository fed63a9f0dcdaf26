"""Data sets and files as others wrote them: bounded, whole, and read without trust in their values."""
