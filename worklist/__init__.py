"""The radiologist's flagged worklist: reads rows through ``worker.studies`` and renders pages."""
