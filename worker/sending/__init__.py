"""From the outbox to the PACS and the HL7 receivers: batches, answers, storage commitment, taking back."""
