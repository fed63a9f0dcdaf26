"""The phantom set is no toy: brightness and thumbnails alone tell little about its findings.

``test_training_pipeline.py`` asks the same of the small set that it has drawn.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from pixel_baseline import TOY_LIMIT, baseline_auroc, pixel_features

from training.phantoms.dataset import write_phantom_dataset
from training.phantoms.statistics import DRAWN_FINDINGS


def test_a_toy_set_whose_finding_is_brightness_is_found_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    lines = ["Image Index,Finding Labels"]
    for index in range(60):
        bright = index % 2
        pixels = rng.normal(110 + 20 * bright, 30, (64, 64)).clip(0, 255).astype(np.uint8)
        cv2.imwrite(str(tmp_path / "images" / f"{index}.png"), pixels)
        lines.append(f"{index}.png,{'Mass' if bright else 'No Finding'}")
    (tmp_path / "Data_Entry_2017.csv").write_text("\n".join(lines), encoding="utf-8")
    names = [f"{index}.png\n" for index in range(60)]
    (tmp_path / "train_val_list.txt").write_text("".join(names[:40]), encoding="utf-8")
    (tmp_path / "test_list.txt").write_text("".join(names[40:]), encoding="utf-8")
    assert baseline_auroc(tmp_path, ["Mass"])["Mass"] > 0.95


def test_the_features_are_statistics_and_a_16_px_thumbnail() -> None:
    features = pixel_features(np.full((1024, 1024), 77, np.uint8))
    assert features.shape == (14 + 16 * 16,)
    assert features[0] == 77
    assert (features[14:] == 77).all()


def test_a_missing_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "Data_Entry_2017.csv").write_text("Image Index,Finding Labels\nlost.png,Mass\n", encoding="utf-8")
    (tmp_path / "train_val_list.txt").write_text("lost.png\n", encoding="utf-8")
    (tmp_path / "test_list.txt").write_text("", encoding="utf-8")
    with pytest.raises(FileNotFoundError, match=r"lost\.png"):
        baseline_auroc(tmp_path, ["Mass"])


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_the_baseline_stays_below_the_toy_limit_on_the_full_phantom_set(tmp_path: Path) -> None:
    write_phantom_dataset(tmp_path, images=5200, seed=2017, workers=2)
    scores = baseline_auroc(tmp_path, DRAWN_FINDINGS)
    assert np.mean(list(scores.values())) < TOY_LIMIT, scores
