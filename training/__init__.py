"""From a folder in ChestX-ray14's layout to a model bundle with a report."""
