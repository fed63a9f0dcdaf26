"""Files of predictions: ours come back as they were, others' are read as far as they go, the rest is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from model.calibration import Calibration
from model.labels import LABELS
from training.evaluation.predictions import (
    Predictions,
    PredictionsError,
    network_predictions,
    read_predictions,
    write_predictions,
)


@pytest.fixture
def predictions() -> Predictions:
    logits = np.random.default_rng(1).normal(0, 4, (3, 14)).astype(np.float32)
    trained = tuple(label != "Hernia" for label in LABELS)
    names, patients = ("a.png", "b.png", "c.png"), np.array(["1", "1", "2"])
    return network_predictions("m 1.0.0", names, patients, logits, Calibration.identity(), trained)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_what_is_written_comes_back(tmp_path: Path, predictions: Predictions, suffix: str) -> None:
    write_predictions(predictions, tmp_path / f"p{suffix}")
    read = read_predictions(tmp_path / f"p{suffix}")
    assert (read.model, read.names) == ("m 1.0.0", ("a.png", "b.png", "c.png"))
    assert read.patients.tolist() == ["1", "1", "2"]
    assert np.allclose(read.probabilities, predictions.probabilities, rtol=1e-8, equal_nan=True)
    assert np.array_equal(read.logits.astype(np.float32), predictions.logits.astype(np.float32), equal_nan=True)
    assert read.trained == predictions.trained
    assert not read.trained[LABELS.index("Hernia")]


def test_others_files_are_read_by_their_columns(tmp_path: Path) -> None:
    file = tmp_path / "preds.csv"
    file.write_text("Image Index,prob_Mass,prob_Edema\nx.png,0.25,0.5\ny.png,0.75,1\n")
    read = read_predictions(file)
    assert read.model == "preds.csv"
    assert read.probabilities[:, LABELS.index("Mass")].tolist() == [0.25, 0.75]
    assert read.trained == tuple(label in {"Mass", "Edema"} for label in LABELS)
    assert read.patients.tolist() == ["", ""]


def test_pictures_are_ranked_by_logits_where_they_are_known(predictions: Predictions) -> None:
    assert np.array_equal(predictions.scores, predictions.logits, equal_nan=True)
    without = Predictions(
        "m", predictions.names, predictions.patients, predictions.probabilities, predictions.logits * np.nan
    )
    assert np.array_equal(without.scores, predictions.probabilities, equal_nan=True)


def test_some_rows_in_another_order_are_those_pictures(predictions: Predictions) -> None:
    some = predictions.only(("c.png", "a.png"))
    assert some.patients.tolist() == ["2", "1"]
    assert np.array_equal(some.logits, predictions.logits[[2, 0]], equal_nan=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name,prob_Mass\nx,0.5\n", "no column names the pictures"),
        ("image,score\nx,0.5\n", "no column holds probabilities"),
        ("image,prob_Mass\nx,0.5\nx,0.6\n", "x has more than one row"),
        ("image,prob_Mass\nx,1.5\n", "must lie between 0 and 1"),
        ("image,prob_Mass\nx,high\n", "prob_Mass holds no number"),
        ("image,prob_Mass\nx,0.5\ny,\n", "Mass has a probability for some pictures and none for others"),
        ("image,prob_Mass\nx,0.5,1\n", "row 2 has 3 columns, the header 2"),
        ("image,prob_Mass\n", "holds no rows"),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_sentence(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "p.csv").write_text(content)
    with pytest.raises(PredictionsError, match=message):
        read_predictions(tmp_path / "p.csv")


def test_a_missing_or_foreign_file_is_refused(tmp_path: Path, predictions: Predictions) -> None:
    with pytest.raises(PredictionsError, match="no such file"):
        read_predictions(tmp_path / "absent.csv")
    (tmp_path / "p.parquet").write_bytes(b"no table")
    with pytest.raises(PredictionsError, match="cannot be read as a table"):
        read_predictions(tmp_path / "p.parquet")
    lists = pyarrow.table({"image": ["x.png"], "probability_Mass": [[0.5, 0.1]]})
    pyarrow.parquet.write_table(lists, tmp_path / "p.parquet")
    with pytest.raises(PredictionsError, match="probability_Mass holds no number"):
        read_predictions(tmp_path / "p.parquet")
    with pytest.raises(PredictionsError, match=r"written as \.csv or \.parquet"):
        write_predictions(predictions, tmp_path / "p.xlsx")
    assert [path.name for path in tmp_path.iterdir()] == ["p.parquet"]
