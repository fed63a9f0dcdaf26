"""DICOM in and out: receiving, pixels, selection, building and sending results. No torch, SQL or Celery here."""
