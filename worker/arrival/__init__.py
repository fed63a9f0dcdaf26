"""From a received instance to a study that is due: whose it is, what its tags say, what is kept."""
