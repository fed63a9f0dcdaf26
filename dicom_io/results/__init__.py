"""What a run found, as DICOM objects: report, secondary captures, presentation states, rejection notes."""
