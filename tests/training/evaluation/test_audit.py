"""The audit on people made up so that every figure is known, and on a published model's real outputs."""

from __future__ import annotations

import numpy as np
import pytest
from published_lists import published_radiographs
from samples import shared
from sklearn.metrics import roc_auc_score

from model.bundle import OperatingPoint
from model.labels import LABELS
from training.data.radiographs import Entry
from training.evaluation.audit import run_audit
from training.evaluation.audit_figures import Audit
from training.evaluation.evaluate import Resampling
from training.evaluation.groups import groups_of
from training.evaluation.predictions import Predictions, read_predictions

EFFUSION, MASS = LABELS.index("Effusion"), LABELS.index("Mass")
POINTS = {"Effusion": OperatingPoint(threshold=0.5, chosen_by="hand")}


def _entry(row: int, sex: str, age: int | None, view: str) -> Entry:
    return Entry(f"{row}.png", frozenset(), str(row), age, sex, view)


@pytest.fixture(scope="module")
def audit() -> Audit:
    """200 pictures: the first half women of 30 on PA films, the second half men of 70 on AP films; 80 ill in each.

    The model finds 60 of the 80 ill women and 40 of the 80 ill men, and flags 5 of the 20 others of each. Mass is there
    in 25 women and 5 men.
    """
    entries = [_entry(row, *(("F", 30, "PA") if row < 100 else ("M", 70, "AP"))) for row in range(200)]
    targets, probability = np.zeros((200, 14)), np.full((200, 14), np.nan)
    rng = np.random.default_rng(1)
    probability[:, MASS] = rng.random(200)
    probability[:, EFFUSION] = 0.1
    for start, found in ((0, 60), (100, 40)):
        targets[start : start + 80, EFFUSION] = 1
        probability[start : start + found, EFFUSION] = 0.9
        probability[start + 80 : start + 85, EFFUSION] = 0.9
    targets[:25, MASS] = targets[100:105, MASS] = 1
    names = tuple(entry.image_index for entry in entries)
    owners = np.array([entry.patient_id for entry in entries])
    predictions = Predictions("m", names, owners, probability, np.full((200, 14), np.nan))
    return run_audit(predictions, targets, entries, POINTS, Resampling(200, 1), part="made up")


def test_misses_and_false_alarms_of_each_group_are_those_of_the_counts(audit: Audit) -> None:
    women, men = audit.of("sex")
    assert (women.group.name, men.group.name) == ("women", "men")
    assert [group.findings["Effusion"].false_negative_rate for group in (women, men)] == [0.25, 0.5]
    assert [group.underdiagnosis_rate.value for group in (women, men)] == [0.25, 0.5]
    assert [group.overdiagnosis_rate for group in (women, men)] == [0.25, 0.25]
    assert audit.everyone.underdiagnosis_rate.value == pytest.approx(60 / 160)
    low, high = women.underdiagnosis_rate.low, women.underdiagnosis_rate.high
    assert low == pytest.approx(0.25 - 1.96 * np.sqrt(0.25 * 0.75 / 80), abs=0.03)  # a binomial share of 80
    assert high == pytest.approx(0.25 + 1.96 * np.sqrt(0.25 * 0.75 / 80), abs=0.03)


def test_a_rate_of_nothing_has_the_exact_bound_and_not_an_interval_of_no_width() -> None:
    """No miss among 30 patients: with 97.5 % confidence the rate is below 1 - 0.025 ** (1 / 30) = 0.1157."""
    entries = [_entry(row, "F", 30, "PA") for row in range(30)]
    probability, targets = np.full((30, 14), np.nan), np.zeros((30, 14))
    probability[:, EFFUSION], targets[:, EFFUSION] = 0.9, 1
    owners = np.array([entry.patient_id for entry in entries])
    predictions = Predictions("m", tuple(map(str, range(30))), owners, probability, np.full((30, 14), np.nan))
    rate = run_audit(predictions, targets, entries, POINTS, Resampling(20, 1), part="").everyone.underdiagnosis_rate
    assert (rate.value, rate.low) == (0.0, 0.0)
    assert rate.high == pytest.approx(0.1157, abs=1e-4)


def test_a_cell_with_fewer_than_twenty_positives_is_suppressed_and_its_count_not_told(audit: Audit) -> None:
    women, men = audit.of("sex")
    assert women.findings["Mass"] is not None
    assert women.findings["Mass"].positives == 25
    assert men.findings["Mass"] is None
    assert men.as_dict()["findings"]["Mass"] is None


def test_means_of_an_attribute_are_over_the_findings_that_all_its_groups_have(audit: Audit) -> None:
    assert audit.compared["sex"] == ("Effusion",)
    assert audit.compared["everyone"] == ("Effusion", "Mass")
    women = audit.of("sex")[0]
    assert women.mean_auroc.value == women.findings["Effusion"].auroc.value
    assert audit.everyone.mean_auroc.value == pytest.approx(
        (audit.everyone.findings["Effusion"].auroc.value + audit.everyone.findings["Mass"].auroc.value) / 2
    )


def test_an_empty_group_has_no_figures_and_does_not_take_them_from_the_others(audit: Audit) -> None:
    by_name = {group.group.name: group for group in audit.groups}
    assert by_name["under 18"].pictures == 0
    assert by_name["under 18"].as_dict()["mean_auroc"] == [None, None, None]
    assert by_name["under 18"].as_dict()["underdiagnosis_rate"] == [None, None, None]
    assert audit.compared["age"] == ("Effusion",)
    assert by_name["60 and over"].mean_auroc.value > 0.5
    assert by_name["women, 18 to 39"].pictures == 100
    assert by_name["women, AP"].pictures == 0


def test_every_band_holds_its_first_year_and_not_the_next_bands() -> None:
    entries = [_entry(row, "F", age, "PA") for row, age in enumerate([0, 17, 18, 39, 40, 59, 60, 95, None])]
    bands = {group.name: group.rows.tolist() for group in groups_of(entries) if group.attribute == "age"}
    assert bands == {"under 18": [0, 1], "18 to 39": [2, 3], "40 to 59": [4, 5], "60 and over": [6, 7]}


def test_pictures_without_a_known_value_are_counted_as_left_out() -> None:
    entries = [_entry(0, "F", 30, "PA"), _entry(1, "O", None, "LL")]
    predictions = Predictions("m", ("0.png", "1.png"), np.array(["0", "1"]), *[np.full((2, 14), 0.5)] * 2)
    audit = run_audit(predictions, np.zeros((2, 14)), entries, {}, Resampling(5, 1), part="")
    assert (audit.left_out["sex"], audit.left_out["age"], audit.left_out["view"]) == (1, 1, 1)
    assert not audit.can_flag


def test_a_published_model_ranks_within_one_view_as_its_outputs_say_and_worse_than_over_both() -> None:
    """training.md section 5 has it of another model: effusion .911 on PA, .830 on AP films, .883 on all."""
    radiographs = published_radiographs()
    file = shared("data/published_predictions") / "haooyuee_densenet121_nih_test22433_preds.csv.gz"
    predictions = read_predictions(file)
    predictions = predictions.of_patients(radiographs.patients(predictions.names))
    targets = radiographs.targets(predictions.names)
    entries = [radiographs.entries[name] for name in predictions.names]
    audit = run_audit(predictions, targets, entries, {}, Resampling(2, 1), part="")
    views = {group.group.name: group for group in audit.of("view")}
    for view in ("PA", "AP"):
        rows = [row for row, entry in enumerate(entries) if entry.view == view]
        expected = roc_auc_score(targets[rows, EFFUSION], predictions.probabilities[rows, EFFUSION])
        assert views[view].findings["Effusion"].auroc.value == pytest.approx(expected)
    assert views["PA"].findings["Effusion"].auroc.value == pytest.approx(0.911, abs=0.01)
    assert views["AP"].findings["Effusion"].auroc.value == pytest.approx(0.830, abs=0.01)
    assert views["AP"].findings["Effusion"].auroc.value < audit.everyone.findings["Effusion"].auroc.value
