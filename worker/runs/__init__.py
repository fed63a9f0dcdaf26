"""One run of a study, from claim to conclusion: read, examine, classify, judge, build the results."""
