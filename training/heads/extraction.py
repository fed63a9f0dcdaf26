"""Features of cached pictures, computed by worker processes shard by shard.

A worker runs one torch thread and takes a whole shard, in batches of a fixed make-up, so on CPUs a shard's bytes do not
depend on how many workers there are nor on whether the run was interrupted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from training.data.cache import PictureCache, open_cache
from training.heads.backbone import Backbone, BackboneChoice, load_backbone
from training.heads.shards import FeatureRow, shard_path, write_shard
from training.heads.workers import Pulse, run_jobs
from training.parallel import training_device


@dataclass(frozen=True)
class ExtractionPlan:
    """All a worker needs beside its rows."""

    folder: Path
    cache: Path
    backbone: BackboneChoice
    batch_size: int
    facts: dict[str, str]
    """Written into every shard."""


@dataclass(frozen=True)
class ShardJob:
    """One shard that is to be made."""

    number: int
    rows: list[FeatureRow]


def extract(plan: ExtractionPlan, jobs: list[ShardJob], workers: int, report: Callable[[int], None]) -> None:
    """Compute and write shards.

    Parameters
    ----------
    report
        Called with the number of pictures done so far in this call.

    Raises
    ------
    TrainingInterruptedError
        SIGINT or SIGTERM came; finished shards stay.
    HeadError
        A worker ended.
    OSError
        A shard cannot be written.
    """
    run_jobs(partial(_Extractor, plan), _make_shard, jobs, min(workers, len(jobs)), report)


def pictures_of(cache: PictureCache, rows: list[FeatureRow]) -> NDArray[np.uint8]:
    """Return uint8 [len(rows), S, S] as the network sees them, mirrored left to right where the row says so."""
    pictures = cache.gather(tuple(row.image_index for row in rows))
    flipped = [place for place, row in enumerate(rows) if row.flipped]
    pictures[flipped] = pictures[flipped, :, ::-1]
    return pictures


class _Extractor:
    """What a worker holds between shards."""

    def __init__(self, plan: ExtractionPlan) -> None:
        torch.backends.cudnn.deterministic = True
        self.plan, self.cache = plan, open_cache(plan.cache)
        self.backbone: Backbone = load_backbone(plan.backbone, training_device())[0]


def _make_shard(extractor: _Extractor, job: ShardJob, pulse: Pulse) -> None:
    plan, features = extractor.plan, []
    for start in range(0, len(job.rows), plan.batch_size):
        if pulse.stopping:
            return
        rows = job.rows[start : start + plan.batch_size]
        features.append(extractor.backbone.features_of(pictures_of(extractor.cache, rows)))
        pulse.advance(len(rows))
    write_shard(shard_path(plan.folder, job.number), job.rows, np.concatenate(features), plan.facts)
