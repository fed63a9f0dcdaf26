"""Conductor of the triage: owns the database, the task queue and the command line."""
