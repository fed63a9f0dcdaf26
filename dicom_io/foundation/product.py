"""Who we are in DICOM: the identity written into every object and association of ours."""

from __future__ import annotations

MANUFACTURER = "CXR Triage Worker project"
MANUFACTURER_MODEL_NAME = "cxr-triage-worker"
DEVICE_SERIAL_NUMBER = "0001"
"""Default of the setting ``device_serial_number``; with the model name it marks an object as our own result."""
VERSION = "0.1.0"

IMPLEMENTATION_CLASS_UID = "2.25.338614110529364405046445899981872180495"
"""Implementation Class UID (PS3.7 D.3.3.2): a random UUID in decimal, drawn once for this product (PS3.5 B.2)."""
IMPLEMENTATION_VERSION_NAME = "CXRTRIAGE_0_1"
"""Implementation Version Name, at most 16 characters (PS3.7 D.3.3.2.4)."""
