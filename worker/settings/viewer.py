"""The part of the configuration that is about viewers: where a study's page links to."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from worker.settings.forms import of_form


class Viewer(BaseModel):
    """A viewer that opens a study from a link, as OHIF in a browser and Weasis by its own protocol do."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=40)]
    """What the link says, such as "OHIF"."""
    url: Annotated[
        str,
        of_form(
            r"(https?|weasis)://[^\s{}\"'<>]+\{study\}[^\s{}\"'<>]*",
            "an address (http://, https:// or weasis://) with {study} in it once and no other braces or quotes",
        ),
    ]
    """Address, ``{study}`` standing for the Study Instance UID; nothing about the patient goes into it."""

    def link(self, study_instance_uid: str) -> str:
        """Return the address of one study."""
        return self.url.replace("{study}", study_instance_uid)
