from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training.evaluation.published import published
from training.heads.published import SHOWN_BY_THE_SOURCE, comparison_for, with_mean


def test_other_test_pictures_get_the_sources_tables_marked_as_not_comparable() -> None:
    comparison = comparison_for(("00000001_000.png", "00000002_000.png"))
    assert tuple(table.name for table in comparison.tables) == SHOWN_BY_THE_SOURCE
    assert not comparison.comparable
    assert "other test pictures" in comparison.reason


def test_the_whole_official_test_list_gets_the_tables_measured_on_it(shared: Path) -> None:
    names = tuple((shared / "data" / "nih_metadata" / "test_list.txt").read_text().split())
    comparison = comparison_for(names)
    assert comparison.comparable
    assert {table.split for table in comparison.tables} == {"official"}
    facts = comparison.as_dict()
    assert (facts["comparable"], facts["reason"]) == (True, comparison.reason)
    assert not comparison_for(names[:-1]).comparable


def test_a_mean_of_eight_findings_is_not_drawn_as_a_mean_of_fourteen() -> None:
    tables = {table.name: table for table in published().tables}
    wang = with_mean(tables["Wang 2017, 8 findings"])
    assert wang[:2].tolist() == [0.7069, 0.8141]  # Atelectasis, Cardiomegaly, from the paper
    assert np.isnan(wang[8:]).all()
    assert with_mean(tables["CheXNet"])[-1] == pytest.approx(0.841, abs=0.001)
