"""Who may send to us (``[[sources]]``), and where results go (``[[destinations]]``)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from dicom_io.foundation.peer import Peer
from model.text_forms import of_form
from worker.settings.internet_addresses import Address
from worker.settings.tls import Tls

AeTitle = Annotated[
    str,
    Field(min_length=1, max_length=16),
    of_form(
        r"\x20*[\x21-\x5b\x5d-\x7e][\x20-\x5b\x5d-\x7e]*", "letters, digits and signs of ASCII without a backslash"
    ),
]
Port = Annotated[int, Field(ge=1, le=65535)]


def required_host(host: str) -> str:
    """Return the host if the system's resolver can be asked for it.

    Raises
    ------
    ValueError
        A label of it is empty or too long (RFC 1035 2.3.4), or holds what no host name may.
    """
    try:
        host.encode("idna")  # as the system's resolver is asked; else every attempt to connect ends in this error
    except UnicodeError:
        raise ValueError("this is neither a host name nor an IP address") from None
    return host


Host = Annotated[str, Field(min_length=1), AfterValidator(required_host)]
"""A host name or an IP address."""


class Source(BaseModel):
    """One system that may send to us, known by its calling AE title."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ae_title: AeTitle
    """Calling AE title, case-sensitive, at most 16 characters."""
    hosts: tuple[Address, ...] = ()
    """IP addresses it may call from; empty = any."""
    confirm_user_identity: bool = False
    """True confirms the user that it names where it wants that (PS3.7 D.3.3.7), without a check: some devices send
    nothing otherwise. Who may send is up to AE title, address and certificate, as without it."""
    urgent: bool = False
    """True puts every study of this source on the ``stat`` queue (an emergency room, say)."""
    bundle: str = "default"
    """Name of the model bundle for its studies, a key of ``bundles``."""
    accept_secondary_capture: bool = False
    """True analyses Secondary Capture images too (film digitisers)."""
    include_under_18: bool = False
    """True analyses children; the training data are mostly adults."""


class Destination(BaseModel):
    """One PACS that results are sent to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=64)
    """Short name used in rows and on pages."""
    ae_title: AeTitle
    host: Host
    port: Port
    tls: Tls | None = None
    pictures: Literal["none", "sc", "sc+gsps"] = "sc"
    """Beside the report, per flagged finding: nothing, a Secondary Capture with the heat map, or that and a Grayscale
    Softcopy Presentation State that draws a line on the original image."""
    summary_capture: bool = False
    """True adds one Secondary Capture that shows all flagged findings side by side."""
    storage_commitment: bool = False
    """True asks the PACS to commit to every object; only then it counts as delivered. The PACS must know our AE title,
    host and port, unless it answers on the association of the request."""
    commitment_wait_seconds: float = Field(3.0, ge=0, le=60)
    """How long the association of a request stays open for an answer on it."""
    keep_open_seconds: float = Field(3.0, ge=0, le=30)
    """How long an association stays open after a delivery for the next one of the same process; it is released at the
    latest a minute after it was opened. 0 = one association for each study. With ``storage_commitment`` or
    ``refresh_identity``, which need associations of their own beside it, it is always 0."""
    refresh_identity: bool = False
    """True asks the PACS by C-FIND, right before results go there, whose study it is and which order it answers; where
    it says otherwise the results are issued again, and a study it does not know yet is waited for. At most one."""

    def peer(self) -> Peer:
        """Return the address in the form the network layer takes."""
        return Peer(self.ae_title, self.host, self.port, self.tls.files() if self.tls else None)
