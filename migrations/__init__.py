"""Alembic revisions of the triage database; run by ``python -m worker migrate``."""
