"""What is analysed of one sender's images, from the configuration."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from dicom_io.selection.decision import SelectionRules
from worker.arrival.picture_check import checks_pictures
from worker.settings.config import Settings


def selection_rules(settings: Settings, calling_ae_title: str) -> SelectionRules:
    """Return the rules for images of this sender; those of nobody in particular where it is not configured."""
    source = settings.source(calling_ae_title)
    return SelectionRules(
        own_device_serial_number=settings.device_serial_number,
        accept_secondary_capture=source.accept_secondary_capture if source else False,
        include_under_18=source.include_under_18 if source else False,
        image_decides=checks_pictures(settings, source.bundle if source else "default"),
        oldest_days=None if settings.analyse_historical else settings.historical_after_days,
        site_rules=tuple(rule for rule in settings.site_rules if not rule.sources or calling_ae_title in rule.sources),
    )


def site_date(settings: Settings, moment: datetime | None = None) -> date:
    """Return the date in the site's time zone, in which StudyDate is written, at a moment (aware); None = now."""
    return (moment or datetime.now(UTC)).astimezone(ZoneInfo(settings.time_zone)).date()
