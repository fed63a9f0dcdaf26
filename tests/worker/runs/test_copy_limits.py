"""Orders and identifiers that no hospital writes end a run at once and with a reason, not after minutes or attempts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from benches import Bench
from bundles import write_test_bundle
from factories import chest_radiograph
from pydicom.dataset import Dataset

from worker.rows.database import SessionFactory
from worker.settings.config import Settings

pytestmark = pytest.mark.either_database


@pytest.fixture
def bench(make_settings: Callable[..., Settings], sessions: SessionFactory, tmp_path: Path) -> Bench:
    write_test_bundle(tmp_path / "bundle")
    receiver = {"name": "ris", "host": "127.0.0.1", "port": 1}
    settings = make_settings(
        bundles={"default": tmp_path / "bundle"}, accept_unknown_sources=True, hl7_destinations=[receiver]
    )
    return Bench(settings, sessions)


def order(number: int) -> Dataset:
    item = Dataset()
    item.AccessionNumber, item.RequestedProcedureID = f"A{number}", f"RP-{number}"
    return item


def nested(keyword: str, depth: int) -> Dataset:
    """Return an item that holds the sequence, whose item holds it, and so on."""
    innermost = item = Dataset()
    for _ in range(depth):
        outer = Dataset()
        setattr(outer, keyword, [item])
        item = outer
    innermost.CodeValue = "X"
    return item


@pytest.mark.parametrize("keyword", ["RequestAttributesSequence", "OtherPatientIDsSequence"])
def test_more_orders_or_identifiers_than_anybody_has_are_refused_by_name_and_number(bench: Bench, keyword: str) -> None:
    study = bench.triage(chest_radiograph(**{keyword: [order(number) for number in range(51)]}))
    assert (study.state, study.reason_code) == ("failed", "result_invalid")
    assert f"an image has 51 items in {keyword}; at most 50 are copied" in (study.reason or "")
    assert len(bench.runs(study.study_instance_uid)) == 1


def test_a_handful_of_orders_is_carried(bench: Bench) -> None:
    study = bench.triage(chest_radiograph(RequestAttributesSequence=[order(number) for number in range(8)]))
    assert study.state == "triaged"
    report, *_others = bench.results(bench.runs(study.study_instance_uid)[0])
    written = pydicom.dcmread(bench.workplace.results.open_path(report.path))
    assert len(written.ReferencedRequestSequence) == 8


def test_orders_nested_without_end_are_refused_at_once(bench: Bench) -> None:
    orders = [nested("RequestedProcedureCodeSequence", 150)]
    study = bench.triage(chest_radiograph(RequestAttributesSequence=orders))
    assert (study.state, study.reason_code) == ("failed", "result_invalid")
    assert "nested" in (study.reason or "")
    assert bench.runs(study.study_instance_uid)[0].attempts == 1
