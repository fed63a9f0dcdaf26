"""The triage database: its tables, sessions, schema, events, and the leases and locks that say who works on what."""
