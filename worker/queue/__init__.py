"""Celery and its broker: messages are hints, the rows are the truth."""
