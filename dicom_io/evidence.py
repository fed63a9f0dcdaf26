"""What our documents say of the objects they speak about, and of the device that speaks."""

from __future__ import annotations

from highdicom.sr import DeviceObserverIdentifyingAttributes, ObserverContext
from pydicom import Dataset
from pydicom.sr.codedict import codes

from dicom_io.product import MANUFACTURER, MANUFACTURER_MODEL_NAME
from dicom_io.uids import deterministic_uid


def bare_reference(source: Dataset) -> Dataset:
    """Return what highdicom needs of a source; the identity is copied afterwards, unchecked and as it is."""
    reference = Dataset()
    for keyword in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        setattr(reference, keyword, source[keyword].value)
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex"):
        setattr(reference, keyword, None)
    for keyword in ("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"):
        setattr(reference, keyword, None)
    for keyword in ("Rows", "Columns"):  # tells an image from another object
        if keyword in source:
            setattr(reference, keyword, source[keyword].value)
    return reference


def device_context(device_serial_number: str) -> ObserverContext:
    """Return the observer context of this installation (TID 1002, 1004)."""
    device = DeviceObserverIdentifyingAttributes(
        uid=deterministic_uid("device", MANUFACTURER_MODEL_NAME, device_serial_number),
        name=MANUFACTURER_MODEL_NAME,
        manufacturer_name=MANUFACTURER,
        model_name=MANUFACTURER_MODEL_NAME,
        serial_number=device_serial_number,
    )
    return ObserverContext(codes.DCM.Device, device)
