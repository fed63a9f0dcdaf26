"""Dates and times of results: the study's own clock, also in the two nights of the year in which it jumps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from reports import report_on, source_radiograph

from dicom_io.foundation.product import VERSION
from dicom_io.results.origin import local_time
from dicom_io.results.secondary_capture import CaptureSeries
from dicom_io.results.structured_report import build_structured_report

BERLIN = ZoneInfo("Europe/Berlin")
NEW_YORK = ZoneInfo("America/New_York")


def written(moment: datetime, zone: ZoneInfo, **attributes: str | None) -> tuple[str, str, str]:
    """Return content date, content time and the contribution's date and time of a report made at `moment`."""
    source = source_radiograph()
    for keyword, value in attributes.items():
        setattr(source, keyword, value)
    document = build_structured_report([source], report_on(source, created_at=moment), site_zone=zone)
    (equipment,) = document.ContributingEquipmentSequence
    return str(document.ContentDate), str(document.ContentTime), str(equipment.ContributionDateTime)


# the European Union changes its clocks at 01:00 UTC on the last Sundays of March and October (Directive 2000/84/EC),
# the United States at 02:00 local time on the second Sunday of March and the first of November (15 U.S.C. 260a)
@pytest.mark.parametrize(
    ("moment", "zone", "local"),
    [
        ((2026, 3, 29, 0, 59, 59), BERLIN, ("20260329", "015959", "20260329015959+0100")),
        ((2026, 3, 29, 1, 0, 0), BERLIN, ("20260329", "030000", "20260329030000+0200")),
        ((2026, 10, 25, 0, 30, 0), BERLIN, ("20261025", "023000", "20261025023000+0200")),
        ((2026, 10, 25, 1, 30, 0), BERLIN, ("20261025", "023000", "20261025023000+0100")),
        ((2026, 3, 8, 6, 59, 59), NEW_YORK, ("20260308", "015959", "20260308015959-0500")),
        ((2026, 3, 8, 7, 0, 0), NEW_YORK, ("20260308", "030000", "20260308030000-0400")),
        ((2026, 11, 1, 5, 30, 0), NEW_YORK, ("20261101", "013000", "20261101013000-0400")),
        ((2026, 11, 1, 6, 30, 0), NEW_YORK, ("20261101", "013000", "20261101013000-0500")),
    ],
)
def test_times_follow_the_sites_clock_over_its_changes(
    moment: tuple[int, int, int, int, int, int], zone: ZoneInfo, local: tuple[str, str, str]
) -> None:
    assert written(datetime(*moment, tzinfo=UTC), zone) == local


def test_the_hour_that_comes_twice_stays_unique_in_the_contribution() -> None:
    first, second = (
        written(datetime(2026, 10, 25, 0, 30, tzinfo=UTC) + timedelta(hours=hours), BERLIN) for hours in (0, 1)
    )
    assert first[:2] == second[:2]  # that is what the clock on the wall showed, twice
    instants = [datetime.strptime(text, "%Y%m%d%H%M%S%z") for text in (first[2], second[2])]
    assert instants[1] - instants[0] == timedelta(hours=1)


def test_an_offset_stated_by_the_images_holds_through_the_sites_changes() -> None:
    for day in (datetime(2026, 3, 29, 1, 30, tzinfo=UTC), datetime(2026, 10, 25, 1, 30, tzinfo=UTC)):
        date, time, contribution = written(day, BERLIN, TimezoneOffsetFromUTC="+0100")
        assert (date, time) == (f"{day:%Y%m%d}", "023000")
        assert contribution.endswith("+0100")


@pytest.mark.parametrize(
    ("offset", "hours"),
    [("+0545", 5.75), ("-0330", -3.5), ("+1400", 14), ("-1200", -12), ("-0000", 0)],
)
def test_offsets_of_every_part_of_the_world_are_followed(offset: str, hours: float) -> None:
    source = source_radiograph()
    source.TimezoneOffsetFromUTC = offset
    assert local_time(source, datetime(2026, 6, 1, tzinfo=UTC), BERLIN).utcoffset() == timedelta(hours=hours)


@pytest.mark.parametrize("offset", ["+1500", "-1300", "+0160", "+01:0", "0100", "+01", ""])
def test_an_offset_that_cannot_be_gives_way_to_the_sites_zone(offset: str) -> None:
    source = source_radiograph()
    source.add_new("TimezoneOffsetFromUTC", "SH", offset)
    assert local_time(source, datetime(2026, 6, 1, tzinfo=UTC), BERLIN).utcoffset() == timedelta(hours=2)


def test_the_picture_carries_the_same_times_as_the_report() -> None:
    source = source_radiograph()
    report = report_on(source, created_at=datetime(2026, 7, 1, 22, 30, tzinfo=timezone(timedelta(hours=-5))))
    capture = CaptureSeries([source], report, site_zone=BERLIN).of_finding(
        report.flagged[0], np.zeros((4, 4, 3), np.uint8)
    )
    document = build_structured_report([source], report, site_zone=BERLIN)
    for made in (capture, document):
        assert (made.SeriesDate, made.SeriesTime) == ("20260702", "053000")
        assert (made.InstanceCreationDate, made.InstanceCreationTime) == ("20260702", "053000")


def test_the_program_and_its_version_are_named_beside_the_models() -> None:
    source = source_radiograph()
    document = build_structured_report([source], report_on(source))
    (equipment,) = document.ContributingEquipmentSequence
    assert (equipment.ManufacturerModelName, equipment.SoftwareVersions) == ("cxr-triage-worker", VERSION)
    assert equipment.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
    assert document.SoftwareVersions == "0.1.0+weights.3f9c1a7e"
