"""HL7 v2 at the border: messages built and read, MLLP sent and received. Knows no database, no Celery, no tensor."""
