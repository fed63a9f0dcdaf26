"""The part of the configuration that is about closing gaps: the archive that knows what we should have received."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from dicom_io.foundation.peer import Peer
from worker.settings.forms import of_form
from worker.settings.peers import AeTitle, Host, Port
from worker.settings.tls import Tls

Modality = Annotated[str, of_form(r"[A-Z]{2}[A-Z0-9]{0,14}", "a value of Modality (0008,0060), such as CR or DX")]


class Reconcile(BaseModel):
    """Where to ask for studies that were not received, and how to fetch them; nothing is asked unless configured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ae_title: AeTitle
    """Of the archive; it must know ours, and with ``move`` our host and port too."""
    host: Host
    port: Port
    tls: Tls | None = None
    retrieve: Literal["move", "get"] = "move"
    """``move``: the archive sends to our listener, as it does with new images; it must be one of ``sources``.
    ``get``: images come over the association that we open."""
    modalities: tuple[Modality, ...] = Field(("CR", "DX"), min_length=1)
    """Series of these are fetched, and Key Object Selections (rejection notes) of their studies."""
    after_downtime: bool = False
    """True closes gaps without being asked: the listener notes when nothing could be received for a minute."""
    lead_minutes: float = Field(120.0, ge=0)
    """After downtime, studies are looked for that began this long before it: images come minutes to hours later."""

    def peer(self) -> Peer:
        """Return the address in the form the network layer takes."""
        return Peer(self.ae_title, self.host, self.port, self.tls.files() if self.tls else None)
