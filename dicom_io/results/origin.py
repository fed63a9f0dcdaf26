"""Where a result comes from and when it was made: our equipment, the model, UIDs, dates and times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone, tzinfo

from pydicom import Dataset

from dicom_io.foundation.content_items import code_item
from dicom_io.foundation.product import DEVICE_SERIAL_NUMBER, MANUFACTURER, MANUFACTURER_MODEL_NAME, VERSION
from dicom_io.foundation.uids import deterministic_uid
from dicom_io.results.codes import PROCESSING_EQUIPMENT
from dicom_io.results.reporting import Report

_FARTHEST_WEST_MINUTES, _FARTHEST_EAST_MINUTES = -12 * 60, 14 * 60


def add_origin(
    target: Dataset,
    source: Dataset,
    report: Report,
    *,
    site_zone: tzinfo = UTC,
    device_serial_number: str = DEVICE_SERIAL_NUMBER,
) -> None:
    """Add equipment, dates and times to a result of an analysis (`add_maker`)."""
    add_maker(
        target,
        source,
        report.created_at,
        report.algorithm.version,
        "Analysed the images and made this object",
        site_zone=site_zone,
        device_serial_number=device_serial_number,
    )


def add_maker(
    target: Dataset,
    source: Dataset,
    made_at: datetime,
    model_version: str,
    contribution: str = "Made this object",
    *,
    site_zone: tzinfo = UTC,
    device_serial_number: str = DEVICE_SERIAL_NUMBER,
) -> None:
    """Add equipment, dates and times to an object of ours.

    Dates and times stand in the zone all times of the study are in. Where the clock of that zone is put back, an hour
    of them comes twice; the Contribution DateTime of the contributing equipment carries its offset and stays unique.
    """
    local = local_time(source, made_at, site_zone)
    _add_equipment(target, model_version, device_serial_number)
    _add_contribution(target, local, contribution, device_serial_number)
    for prefix in ("Series", "Content", "InstanceCreation"):
        setattr(target, f"{prefix}Date", f"{local:%Y%m%d}")
        setattr(target, f"{prefix}Time", f"{local:%H%M%S}")


def _add_equipment(target: Dataset, model_version: str, device_serial_number: str) -> None:
    """Add the General Equipment module (PS3.3 C.7.5.1): the product; Software Versions is the model's version."""
    target.Manufacturer = MANUFACTURER
    target.ManufacturerModelName = MANUFACTURER_MODEL_NAME
    target.DeviceSerialNumber = device_serial_number
    target.SoftwareVersions = model_version


def _add_contribution(target: Dataset, local: datetime, contribution: str, device_serial_number: str) -> None:
    """Say which version of the program made the object, and at which instant (PS3.3 C.12.1)."""
    equipment = Dataset()
    equipment.PurposeOfReferenceCodeSequence = [code_item(PROCESSING_EQUIPMENT)]
    equipment.Manufacturer = MANUFACTURER
    equipment.ManufacturerModelName = MANUFACTURER_MODEL_NAME
    equipment.DeviceSerialNumber = device_serial_number
    equipment.SoftwareVersions = VERSION
    equipment.ContributionDateTime = f"{local:%Y%m%d%H%M%S%z}"
    equipment.ContributionDescription = contribution
    target.ContributingEquipmentSequence = [equipment]


def result_uid(study_instance_uid: str, report: Report, *kind: str) -> str:
    """Return the UID of one object of this analysis, the same for every attempt.

    It changes with the study, the set of analysed images and their pixels, the model, the policy and the revision,
    and with `kind`, such as ``("secondary_capture", "Effusion")``; it does not change with the time.
    """
    analysed = sorted(f"{image.sop_instance_uid}:{image.pixel_sha256}" for image in report.images)
    seed = (study_instance_uid, *analysed, report.algorithm.name, report.algorithm.version, report.policy_hash)
    return deterministic_uid(*seed, str(report.revision), *kind)


def local_time(source: Dataset, moment: datetime, site_zone: tzinfo = UTC) -> datetime:
    """Return `moment` in the zone all times of the study are in.

    That is Timezone Offset From UTC (PS3.3 C.12.1.1.8, -1200 to +1400) where the source states a valid one, whatever
    the site's clock says at that time of the year; else `site_zone` with its summer time.
    """
    text = str(source.get("TimezoneOffsetFromUTC") or "")
    if len(text) == 5 and text[0] in "+-" and text[1:].isascii() and text[1:].isdigit() and int(text[3:]) < 60:
        minutes = (60 * int(text[1:3]) + int(text[3:])) * (1 if text[0] == "+" else -1)
        if _FARTHEST_WEST_MINUTES <= minutes <= _FARTHEST_EAST_MINUTES:
            return moment.astimezone(timezone(timedelta(minutes=minutes)))
    return moment.astimezone(site_zone)
