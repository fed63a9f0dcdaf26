"""DICOM in and out: receiving, reading pixels, selecting images, building and sending results. No torch, SQL or Celery here."""
