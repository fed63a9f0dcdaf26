"""The command line's commands about studies and messages."""
