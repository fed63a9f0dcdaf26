"""The part of the configuration that is about deleting images: how long they stay here; by default for ever."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Retention(BaseModel):
    """When received images are deleted here. Rows and results stay; unfinished work is never touched."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    images_after_days: float | None = Field(default=None, gt=0)
    """Days after the last image of a study came; None keeps them."""
    images_after_commitment_days: float | None = Field(default=None, ge=0)
    """Days after the last of a study's results was committed by its archive, which then keeps the study; 0 = as soon as
    it is, at the earliest an hour after the images came; None keeps them."""

    @property
    def deletes(self) -> bool:
        """Whether anything is ever deleted."""
        return self.images_after_days is not None or self.images_after_commitment_days is not None
