"""The part of the configuration that is about people: who is told at once of a study that cannot wait, and when not."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field

from model.text_forms import NamedPath, of_form
from worker.settings.peers import Host, Port

Level = Literal["STAT", "URGENT"]
QuietHours = Annotated[
    str,
    of_form(r"(([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d)?", "two times such as 22:00-06:30, or empty"),
]
Address = Annotated[
    str, Field(max_length=254), of_form(r"[^\s@<>,;]+@[^\s@<>,;]+", "one address such as cxr@example.org")
]


class Channel(BaseModel):
    """One way to tell people."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=64)
    """Short name used in rows and on pages; nothing else that results go to may have it."""
    levels: tuple[Level, ...] = ("STAT",)
    """Priorities that are told."""
    quiet_hours: QuietHours = ""
    """Such as ``22:00-06:30`` in the site's time zone: what falls into them is told when they end, if still unread."""
    patient_data: bool = False
    """True also tells name, Patient ID, accession number, what was flagged, and a link to the study."""
    timeout_seconds: float = Field(10.0, gt=0, le=60)
    ca_file: NamedPath | None = None
    """PEM certificates to trust instead of the machine's."""

    def outside_quiet_hours(self, moment: datetime, zone: ZoneInfo) -> datetime:
        """Return ``moment`` (aware), or the end of the quiet hours that it falls into."""
        if not self.quiet_hours:
            return moment
        begins, ends = (time.fromisoformat(part) for part in self.quiet_hours.split("-"))
        local = moment.astimezone(zone)
        now = local.time()
        quiet = begins <= now < ends if begins <= ends else now >= begins or now < ends
        if not quiet:
            return moment
        day = local.date() + timedelta(days=1 if now >= ends else 0)
        end = datetime.combine(day, ends, zone).astimezone(moment.tzinfo)
        if end > moment:
            return end
        return datetime.combine(day, ends.replace(fold=1), zone).astimezone(moment.tzinfo)  # the hour comes twice


class Webhook(Channel):
    """A program that is told by an HTTP POST with a JSON body."""

    url: Annotated[str, of_form(r"https?://\S+", "an address that begins with https:// or http://")]
    secret_file: NamedPath | None = None
    """File with a secret; the body is then signed with it (HMAC-SHA256) in the header ``X-CXR-Signature``."""


class Mail(Channel):
    """People who are told by e-mail."""

    host: Host
    port: Port = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    username: str = ""
    """Empty = no login."""
    password_file: NamedPath | None = None
    sender: Address
    recipients: tuple[Address, ...] = Field(min_length=1)
