"""The check that says whether a picture is a frontal chest radiograph at all, learned from the training pictures."""
