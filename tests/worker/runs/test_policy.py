from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from bundles import SAYS, THRESHOLD, write_test_bundle

from dicom_io.results.reporting import ReportedFinding
from model.labels import LABELS
from worker.rows.states import Priority
from worker.runs.policy import TIERS, Policy, Tier, finding_in_words, unflagged
from worker.views.presentation import percent_text

POLICY = Policy(dict.fromkeys(LABELS, THRESHOLD))


def image(**probabilities: float) -> list[float | None]:
    return [probabilities.get(label, 0.0) for label in LABELS]


def test_a_pneumothorax_above_its_threshold_makes_the_study_stat_and_says_so() -> None:
    assessment = POLICY.assess([image(Pneumothorax=0.91)])
    assert assessment.priority == Priority.STAT
    assert assessment.reason == "Pneumothorax 91 % (threshold 60 %)"
    assert [finding.label for finding in assessment.flagged] == ["Pneumothorax"]


def test_a_probability_exactly_at_the_threshold_flags() -> None:
    assert POLICY.assess([image(Effusion=THRESHOLD)]).priority == Priority.URGENT
    assert POLICY.assess([image(Effusion=THRESHOLD - 1e-9)]).priority == Priority.ROUTINE


@pytest.mark.parametrize(
    ("label", "priority"),
    [
        ("Pneumothorax", "STAT"),
        ("Effusion", "URGENT"),
        ("Infiltration", "URGENT"),
        ("Consolidation", "URGENT"),
        ("Pneumonia", "URGENT"),
        ("Edema", "URGENT"),
        ("Mass", "URGENT"),
        ("Atelectasis", "ROUTINE"),
        ("Cardiomegaly", "ROUTINE"),
        ("Nodule", "ROUTINE"),
        ("Emphysema", "ROUTINE"),
        ("Fibrosis", "ROUTINE"),
        ("Pleural_Thickening", "ROUTINE"),
        ("Hernia", "ROUTINE"),
    ],
)
def test_every_finding_has_its_priority(label: str, priority: str) -> None:
    assert POLICY.assess([image(**{label: 0.9})]).priority == priority


def test_every_label_has_a_tier_and_tiers_never_overlap_in_rank() -> None:
    assert set(TIERS) == set(LABELS)
    lowest = {tier: (tier.order) / 6 for tier in Tier}
    for label, (tier, weight) in TIERS.items():
        finding = POLICY.assess([image(**{label: 1.0})]).flagged[0]
        assert 0 < weight < 1
        assert lowest[tier] < finding.rank < lowest[tier] + 1 / 6


def test_the_most_urgent_tier_decides_even_when_another_finding_is_more_probable() -> None:
    assessment = POLICY.assess([image(Pneumothorax=0.61, Cardiomegaly=0.99)])
    assert assessment.priority == Priority.STAT
    assert assessment.reason == "Pneumothorax 61 % (threshold 60 %); Cardiomegaly 99 % (threshold 60 %)"


def test_the_study_takes_each_finding_from_the_image_where_it_scored_highest() -> None:
    assessment = POLICY.assess([image(Effusion=0.7, Mass=0.8), image(Effusion=0.9, Mass=0.1)])
    found = {finding.label: (finding.probability, finding.source_index) for finding in assessment.flagged}
    assert found == {"Effusion": (0.9, 1), "Mass": (0.8, 0)}


def test_untrained_findings_never_flag_and_are_not_counted() -> None:
    assessment = POLICY.assess([[None] * 8 + [0.1] * 6])
    assert assessment.priority == Priority.ROUTINE
    assert assessment.rank == 0.0
    assert assessment.reason == "No finding above its threshold (6 of 14 findings analysed)"
    assert all(finding.probability is None and not finding.flagged for finding in assessment.findings[:8])


def test_a_finding_without_a_threshold_never_flags() -> None:
    policy = Policy(dict.fromkeys(LABELS))
    assert policy.assess([[1.0] * 14]).flagged == ()


def test_a_historical_study_keeps_its_probabilities_and_flags_nothing() -> None:
    assessment = unflagged(POLICY.assess([image(Pneumothorax=0.91)]), "Historical study (30 days old)")
    assert assessment.priority == Priority.ROUTINE
    assert assessment.flagged == ()
    assert assessment.reason == "Historical study (30 days old): analysed, never flagged"
    assert max(finding.probability or 0 for finding in assessment.findings) == 0.91


def test_the_hash_changes_with_any_threshold_and_only_then() -> None:
    same = Policy(dict(reversed(list(POLICY.thresholds.items()))))
    other: Mapping[str, float | None] = {**POLICY.thresholds, "Hernia": 0.61}
    assert same.hash == POLICY.hash
    assert Policy(other).hash != POLICY.hash


def test_a_site_may_replace_the_bundles_operating_points(tmp_path: Path) -> None:
    bundle = write_test_bundle(tmp_path / "bundle")
    policy = Policy.of_bundle(bundle, {"Cardiomegaly": 0.15})
    assert policy.thresholds["Cardiomegaly"] == 0.15
    assert policy.thresholds["Effusion"] == THRESHOLD
    assert policy.thresholds["Hernia"] is None
    assert set(SAYS) == {label for label, threshold in policy.thresholds.items() if threshold is not None}


def test_a_threshold_for_a_finding_that_does_not_exist_is_refused_by_name(tmp_path: Path) -> None:
    bundle = write_test_bundle(tmp_path / "bundle")
    with pytest.raises(ValueError, match="no such finding: Pneumotorax"):
        Policy.of_bundle(bundle, {"Pneumotorax": 0.5})


def test_small_percentages_keep_a_decimal_and_none_claims_certainty() -> None:
    finding = Policy({**dict.fromkeys(LABELS), "Pleural_Thickening": 0.035}).assess([image(Pleural_Thickening=0.996)])
    assert finding_in_words(finding.flagged[0]) == "Pleural thickening > 99 % (threshold 3.5 %)"


@pytest.mark.parametrize("probability", [0.9949, 0.9951, 0.9999, 0.991, 0.65, 0.996])
def test_the_page_the_reason_and_the_pictures_write_a_probability_alike(probability: float) -> None:
    of_picture = ReportedFinding("Pneumothorax", probability, 0.4, 0, 1.0)
    reason = finding_in_words(POLICY.assess([image(Pneumothorax=probability)]).flagged[0])
    assert percent_text(probability) == f"{of_picture.percent} %"
    assert f" {percent_text(probability)} (" in reason
