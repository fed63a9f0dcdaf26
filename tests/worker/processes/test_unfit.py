"""A worker that finds after its start that it cannot analyse ends in words; what waits for it stays queued."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from bundles import weights_without_numbers, write_test_bundle
from sites import TRIAGE, Site


@pytest.mark.parametrize(
    ("runtime", "told"),
    [
        ("auto", "bundle default: bundle fixed-words 0.0.1 computes no finite number for "),
        ("cuda", "bundle default: torch sees no GPU; install its driver, or set runtime = 'auto'"),
    ],
)
def test_a_worker_that_cannot_analyse_ends_in_one_sentence(
    site_with: Callable[..., Site], tmp_path: Path, runtime: str, told: str
) -> None:
    bundle = write_test_bundle(tmp_path / "silent", weights=weights_without_numbers())
    site = site_with({"CUDA_VISIBLE_DEVICES": ""}, bundles={"default": bundle.folder}, runtime=runtime, concurrency=2)
    assert site.start(TRIAGE).wait(60) == 1
    assert site.log().count(told) == 1
    assert "raised" not in site.log() and " at /" not in site.log(), "a stack"
