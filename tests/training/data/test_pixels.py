from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from training_runs import tiny_run

from training.data.levels import grey_levels
from training.fitting.pixels import Pixels


def test_pictures_kept_on_the_device_are_those_of_the_cache(tmp_path: Path) -> None:
    prepared = tiny_run(tmp_path)
    plan = prepared.plan
    rows = np.array([3, 0, 3, 7])
    expected = torch.from_numpy(prepared.cache.gather(tuple(plan.training.names[row] for row in rows)))
    for resident in (True, False, None):
        pixels = Pixels(plan.cache, plan.training.names, torch.device("cpu"), resident=resident)
        assert (pixels.whole is not None) == bool(resident)
        assert torch.equal(pixels.take(rows), expected)


def test_mean_and_deviation_are_over_every_pixel(tmp_path: Path) -> None:
    prepared = tiny_run(tmp_path)
    names = prepared.parts.training
    levels = prepared.cache.gather(names) / 255
    mean, deviation = grey_levels(prepared.cache, names)
    assert np.isclose(mean, levels.mean(), atol=1e-12)
    assert np.isclose(deviation, levels.std(), atol=1e-12)
    dataset = tiny_run(tmp_path, network={"normalisation": "dataset"})
    assert dataset.plan.levels == (mean, deviation)
