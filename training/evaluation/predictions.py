"""What a model says of many pictures, and the file it is kept in: CSV or Parquet, one row for each picture.

Our own files have the columns ``model``, ``image``, ``patient``, ``logit_<finding>`` and ``probability_<finding>``.
Files of others are read as far as they name pictures and findings: ``Image Index`` or ``image_index``;
``prob_<finding>`` or the finding alone; no patients, no logits.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from numpy.typing import NDArray

from model.calibration import Calibration
from model.labels import LABELS
from training.data.cache_index import write_whole
from training.data.radiographs import LayoutError
from training.data.tables import table_rows

SUFFIXES = (".csv", ".csv.gz", ".parquet")
_NAME_COLUMNS = ("image", "image index", "image_index", "file")
_PATIENT_COLUMNS = ("patient", "patient id", "patient_id")
_PROBABILITY_PREFIXES = ("probability_", "prob_", "")


class PredictionsError(Exception):
    """A file of predictions cannot be used; the message names the file and what to do."""


@dataclass(frozen=True)
class Predictions:
    """What one model says of N pictures, in the order of ``LABELS``."""

    model: str
    """Name and version of the bundle, or the file's name."""
    names: tuple[str, ...]
    patients: NDArray[np.str_]
    """[N]; empty texts where the file names none."""
    probabilities: NDArray[np.float64]
    """float64 [N, 14] in 0..1; NaN where the model was never taught the finding."""
    logits: NDArray[np.float64]
    """float64 [N, 14] before calibration; NaN where unknown."""

    @property
    def trained(self) -> tuple[bool, ...]:
        """Return which findings the model speaks of."""
        return tuple(not np.isnan(column).all() for column in self.probabilities.T)

    @property
    def scores(self) -> NDArray[np.float64]:
        """Return what pictures are ranked by, [N, 14]: logits, as a calibration may make ties; else probabilities."""
        known = ~np.isnan(self.logits).any(0)
        return np.where(known, self.logits, self.probabilities)

    def only(self, names: tuple[str, ...]) -> Predictions:
        """Return the rows of these pictures, in this order; each must be there."""
        place = {name: row for row, name in enumerate(self.names)}
        rows = np.array([place[name] for name in names], dtype=np.int64)
        return Predictions(self.model, names, self.patients[rows], self.probabilities[rows], self.logits[rows])

    def of_patients(self, patients: NDArray[np.str_]) -> Predictions:
        """Return the same with other patients [N], as a table of labels knows them."""
        return Predictions(self.model, self.names, patients, self.probabilities, self.logits)


def network_predictions(
    model: str,
    names: tuple[str, ...],
    patients: NDArray[np.str_],
    logits: NDArray[np.floating],
    calibration: Calibration,
    trained: tuple[bool, ...],
) -> Predictions:
    """Return what a network's logits [N, 14] say once calibrated; findings it was never taught are NaN."""
    probabilities, known = calibration.probabilities(logits), np.array(trained)
    wide = np.asarray(logits, np.float64)
    return Predictions(model, names, patients, np.where(known, probabilities, np.nan), np.where(known, wide, np.nan))


def write_predictions(predictions: Predictions, path: Path) -> None:
    """Write a file whole or not at all; its suffix says which kind.

    Raises
    ------
    PredictionsError
        The suffix is neither ``.csv`` nor ``.parquet``.
    """
    columns: dict[str, Any] = {
        "model": [predictions.model] * len(predictions.names),
        "image": list(predictions.names),
        "patient": predictions.patients.tolist(),
    }
    columns |= {f"logit_{label}": predictions.logits[:, column] for column, label in enumerate(LABELS)}
    columns |= {f"probability_{label}": predictions.probabilities[:, column] for column, label in enumerate(LABELS)}
    if path.suffix == ".parquet":
        sink = pyarrow.BufferOutputStream()
        pyarrow.parquet.write_table(pyarrow.table(columns), sink)
        write_whole(sink.getvalue().to_pybytes(), path)
    elif path.suffix == ".csv":
        write_whole(_csv(columns).encode(), path)
    else:
        raise PredictionsError(f"{path}: predictions are written as .csv or .parquet; give the file such a name")


def read_predictions(path: Path) -> Predictions:
    """Read a file.

    Raises
    ------
    PredictionsError
        It is not there, names no pictures or no finding, or a value is no probability.
    """
    columns = _columns(path)
    by_name = {name.lower(): name for name in columns}
    name_column = next((by_name[name] for name in _NAME_COLUMNS if name in by_name), None)
    if name_column is None:
        raise PredictionsError(f"{path}: no column names the pictures; expected one of {', '.join(_NAME_COLUMNS)}")
    names = tuple(str(value) for value in columns[name_column])
    if len(set(names)) < len(names):
        twice = next(name for row, name in enumerate(names) if name in names[:row])
        raise PredictionsError(f"{path}: {twice} has more than one row; keep one row for each picture")
    patient_column = next((by_name[name] for name in _PATIENT_COLUMNS if name in by_name), None)
    patients = [str(value) for value in columns[patient_column]] if patient_column else [""] * len(names)
    probabilities = _table(path, columns, _PROBABILITY_PREFIXES)
    if np.isnan(probabilities).all():
        raise PredictionsError(f"{path}: no column holds probabilities of a finding, e.g. probability_{LABELS[0]}")
    gaps = [
        label for label, known in zip(LABELS, (~np.isnan(probabilities)).T, strict=True) if 0 < known.sum() < len(names)
    ]
    if gaps:
        raise PredictionsError(f"{path}: {gaps[0]} has a probability for some pictures and none for others")
    if np.nanmin(probabilities) < 0 or np.nanmax(probabilities) > 1:
        raise PredictionsError(f"{path}: probabilities must lie between 0 and 1; logits belong in logit_<finding>")
    model = str(columns["model"][0]) if "model" in columns and names else path.name
    return Predictions(model, names, np.array(patients, np.str_), probabilities, _table(path, columns, ("logit_",)))


def is_predictions_file(path: Path) -> bool:
    """Return whether the name is that of a file of predictions."""
    return path.name.lower().endswith(SUFFIXES)


def _columns(path: Path) -> dict[str, list[Any]]:
    try:
        if path.suffix == ".parquet":
            columns: dict[str, list[Any]] = pyarrow.parquet.read_table(path).to_pydict()
            return columns
        rows = [cells for _, cells in table_rows(path)]
    except FileNotFoundError as error:
        raise PredictionsError(f"{path}: no such file; `python -m training evaluate` writes one") from error
    except (OSError, pyarrow.ArrowException, LayoutError) as error:
        raise PredictionsError(f"{path}: cannot be read as a table ({error})") from error
    if len(rows) < 2:
        raise PredictionsError(f"{path}: holds no rows")
    short = next((number for number, row in enumerate(rows, start=1) if len(row) != len(rows[0])), None)
    if short is not None:
        raise PredictionsError(f"{path}: row {short} has {len(rows[short - 1])} columns, the header {len(rows[0])}")
    return {name: list(column) for name, column in zip(rows[0], zip(*rows[1:], strict=True), strict=True)}


def _table(path: Path, columns: dict[str, list[Any]], prefixes: tuple[str, ...]) -> NDArray[np.float64]:
    """Return float64 [N, 14]; NaN for findings without a column and for empty cells."""
    count = len(next(iter(columns.values())))
    table = np.full((count, len(LABELS)), np.nan)
    for place, label in enumerate(LABELS):
        found = next((prefix + label for prefix in prefixes if prefix + label in columns), None)
        if found is None:
            continue
        try:
            table[:, place] = [np.nan if value in ("", None) else float(value) for value in columns[found]]
        except (ValueError, TypeError) as error:
            raise PredictionsError(f"{path}: column {found} holds no number in a row ({error})") from error
    return table


def _csv(columns: dict[str, Any]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        writer.writerow(
            [value if isinstance(value, str) else "" if np.isnan(value) else f"{value:.9g}" for value in row]
        )
    return stream.getvalue()
