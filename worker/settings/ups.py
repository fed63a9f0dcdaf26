"""The part of the configuration that is about UPS: a worklist of workitems that other systems query and work off."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from dicom_io.foundation.peer import Peer
from worker.settings.internet_addresses import Address
from worker.settings.peers import AeTitle, required_host
from worker.settings.tls import Tls


class UpsPeer(BaseModel):
    """One system that may query and claim workitems, known by its calling AE title."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ae_title: AeTitle
    """Case-sensitive, at most 16 characters."""
    hosts: tuple[Address, ...] = ()
    """IP addresses it may call from; empty = any."""
    host: Annotated[str, AfterValidator(required_host)] = ""
    """Where it takes event reports; empty = it cannot be subscribed."""
    port: int = Field(default=0, ge=0, le=65535)
    """TCP port of `host`."""
    tls: Tls | None = None

    @model_validator(mode="after")
    def _address_is_whole(self) -> UpsPeer:
        if bool(self.host) != bool(self.port):
            raise ValueError("host and port belong together: give both where event reports go, or neither")
        return self

    def receiver(self) -> Peer | None:
        """Return where its event reports go, in the form the network layer takes."""
        if not self.host:
            return None
        return Peer(self.ae_title, self.host, self.port, self.tls.files() if self.tls else None)


class Ups(BaseModel):
    """The worklist of workitems at the listener; there is none unless this is configured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    peers: tuple[UpsPeer, ...] = Field(min_length=1)
    """Who may use it, and who may be told of changes."""
    worklist_label: str = Field(default="CXR TRIAGE", min_length=1, max_length=64)
    """Worklist Label (0074,1202) of our workitems."""
    retrieve_ae_title: str = Field(default="", max_length=16)
    """Where images and results can be had; empty = the first of ``destinations``, else ourselves."""
    not_analysed: Literal["workitem", "none"] = "workitem"
    """A study that could not be analysed gets a workitem labelled so, or none; it never looks like a normal one."""
    accept_created: bool = False
    """True takes workitems that peers create (N-CREATE)."""
    completion_marks_read: bool = False
    """True marks a study read when its workitem is completed."""
    fill_in_final_state: bool = False
    """True completes a workitem whose performer stated nothing (no N-SET) with what is known here; the standard has
    such a request refused with 0xC304."""
    keep_days: float = Field(default=30.0, gt=0)
    """Completed and canceled workitems are kept this long, with a deletion lock until it is released."""
    lock_days: float = Field(default=90.0, gt=0)
    """Deletion locks hold no longer than this."""
    event_hours: float = Field(default=24.0, gt=0)
    """An event report that its receiver does not take is tried for this long."""

    @model_validator(mode="after")
    def _titles_are_unique(self) -> Ups:
        titles = [peer.ae_title for peer in self.peers]
        if len(set(titles)) != len(titles):
            raise ValueError("each ae_title may stand once among the peers")
        return self

    def peer(self, ae_title: str) -> UpsPeer | None:
        """Return the configured peer of this AE title, or None."""
        return next((peer for peer in self.peers if peer.ae_title == ae_title), None)
