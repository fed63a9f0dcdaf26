"""The triage database: its tables, sessions, schema, events, and the leases and locks that say who works on what."""

# all of them, whichever is asked for: a relation names classes of other files
from worker.rows import delivery_tables, run_tables, site_tables, study_tables, workitem_tables  # noqa: F401
