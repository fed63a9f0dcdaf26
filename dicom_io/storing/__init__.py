"""Taking responsibility for an object: accepted, on disk for good, and handed on."""
