"""Commands of ``python -m training`` beside the main one, a file for each family."""
