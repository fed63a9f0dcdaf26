"""HL7 messages sent to us: kept, acknowledged, then applied in their order."""
