"""What the commands that judge a model do: from what was asked to figures, files and what is printed."""
