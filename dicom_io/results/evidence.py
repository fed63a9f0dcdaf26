"""What our documents say of the objects they speak about, and of the device that speaks."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom import Dataset

from dicom_io.foundation.concepts import DCM
from dicom_io.foundation.content_items import HAS_OBS_CONTEXT, code, text, uid_reference
from dicom_io.foundation.product import MANUFACTURER, MANUFACTURER_MODEL_NAME
from dicom_io.foundation.uids import deterministic_uid


def evidence_of(headers: Sequence[Dataset]) -> list[Dataset]:
    """Return the items of a hierarchical reference to these objects (PS3.3 table C.17-3), none of them twice."""
    studies: dict[str, dict[str, dict[str, Dataset]]] = {}
    for header in headers:
        instance = Dataset()
        instance.ReferencedSOPClassUID = header.SOPClassUID
        instance.ReferencedSOPInstanceUID = header.SOPInstanceUID
        series = studies.setdefault(str(header.StudyInstanceUID), {}).setdefault(str(header.SeriesInstanceUID), {})
        series.setdefault(str(header.SOPInstanceUID), instance)
    return [_study_item(uid, series) for uid, series in studies.items()]


def _study_item(study_instance_uid: str, series: dict[str, dict[str, Dataset]]) -> Dataset:
    study = Dataset()
    study.StudyInstanceUID = study_instance_uid
    study.ReferencedSeriesSequence = [_series_item(uid, instances) for uid, instances in series.items()]
    return study


def _series_item(series_instance_uid: str, instances: dict[str, Dataset]) -> Dataset:
    series = Dataset()
    series.SeriesInstanceUID = series_instance_uid
    series.ReferencedSOPSequence = list(instances.values())
    return series


def observer(device_serial_number: str) -> list[Dataset]:
    """Return the content items that say who speaks: this installation (TID 1002, 1004)."""
    uid = deterministic_uid("device", MANUFACTURER_MODEL_NAME, device_serial_number)
    named = [
        (DCM.DeviceObserverName, MANUFACTURER_MODEL_NAME),
        (DCM.DeviceObserverManufacturer, MANUFACTURER),
        (DCM.DeviceObserverModelName, MANUFACTURER_MODEL_NAME),
        (DCM.DeviceObserverSerialNumber, device_serial_number),
    ]
    return [
        code(DCM.ObserverType, DCM.Device, HAS_OBS_CONTEXT),
        uid_reference(DCM.DeviceObserverUID, uid, HAS_OBS_CONTEXT),
        *(text(name, value, HAS_OBS_CONTEXT) for name, value in named),
    ]
