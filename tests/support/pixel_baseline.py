"""How far brightness alone goes: a logistic regression on pixel statistics and a 16 x 16 thumbnail.

A data set whose findings such a model tells apart is a toy: it rewards global brightness instead of local signs. The
phantom set must keep its mean AUROC below `TOY_LIMIT`.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

TOY_LIMIT = 0.75
"""Mean AUROC that the baseline must stay below."""

_THUMBNAIL_PX = 16
_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)


def pixel_features(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the 270 features of one picture, float32: statistics, percentiles and a 16 x 16 thumbnail (grey levels).

    Parameters
    ----------
    pixels
        Uint8 [H, W].
    """
    thumbnail = cv2.resize(pixels, (_THUMBNAIL_PX, _THUMBNAIL_PX), interpolation=cv2.INTER_AREA).astype(np.float32)
    middle = cv2.resize(pixels, (256, 256), interpolation=cv2.INTER_AREA).astype(np.float32)
    edges = (np.abs(np.diff(middle, axis=0)).mean(), np.abs(np.diff(middle, axis=1)).mean())
    halves = (middle[:, :128].mean() - middle[:, 128:].mean(), middle[:128].mean() - middle[128:].mean())
    percentiles = np.percentile(middle, (1, 5, 10, 25, 50, 75, 90, 95))
    statistics = np.array([middle.mean(), middle.std(), *edges, *halves, *percentiles], np.float32)
    return np.concatenate([statistics, thumbnail.ravel()])


def read_features(folder: Path, names: Sequence[str]) -> NDArray[np.float32]:
    """Return the features of the pictures `names` of a data set folder, float32 [len(names), 270]."""
    rows = []
    for name in names:
        pixels = cv2.imread(str(folder / "images" / name), cv2.IMREAD_GRAYSCALE)
        if pixels is None:
            raise FileNotFoundError(f"{folder / 'images' / name}: no readable picture; is the data set complete?")
        rows.append(pixel_features(np.asarray(pixels, np.uint8)))
    return np.stack(rows)


def read_labels(folder: Path) -> dict[str, frozenset[str]]:
    """Return the findings of every picture listed in `Data_Entry_2017.csv`."""
    with (folder / "Data_Entry_2017.csv").open(newline="", encoding="utf-8") as stream:
        return {row[0]: frozenset(row[1].split("|")) for row in list(csv.reader(stream))[1:]}


def baseline_auroc(folder: Path, findings: Sequence[str], *, folds: int = 3) -> dict[str, float]:
    """Fit the baseline on `train_val_list.txt` and return its AUROC per finding on `test_list.txt`.

    The penalty is chosen per finding by cross-validation on the training part (AUROC).

    Parameters
    ----------
    folder
        Data set in ChestX-ray14's layout.
    findings
        Labels to score; each must occur in both parts.
    folds
        Folds of the cross-validation.
    """
    labels = read_labels(folder)
    train = (folder / "train_val_list.txt").read_text(encoding="utf-8").split()
    test = (folder / "test_list.txt").read_text(encoding="utf-8").split()
    train_features, test_features = read_features(folder, train), read_features(folder, test)
    scores: dict[str, float] = {}
    for finding in findings:
        model = GridSearchCV(
            make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)),
            {"logisticregression__C": list(_STRENGTHS)},
            scoring="roc_auc",
            cv=folds,
        )
        model.fit(train_features, np.array([finding in labels[name] for name in train]))
        chance = model.predict_proba(test_features)[:, 1]
        scores[finding] = float(roc_auc_score(np.array([finding in labels[name] for name in test]), chance))
    return scores
