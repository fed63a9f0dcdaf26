"""The radiologist's flagged worklist: reads rows through ``worker.views.studies`` and renders pages."""
