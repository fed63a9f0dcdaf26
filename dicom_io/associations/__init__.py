"""Associations, ours and others': opened, kept, read in large steps, and closed whole."""
