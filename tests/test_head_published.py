from __future__ import annotations

import numpy as np
import pytest

from training.heads.published import PUBLISHED, comparison_for


@pytest.mark.parametrize(
    ("name", "mean"), [("Wang 2017", 0.696), ("Yao 2017", 0.803), ("CheXNet", 0.841), ("SwinCheX", 0.810)]
)
def test_the_copied_figures_have_the_mean_their_papers_report(name: str, mean: float) -> None:
    table = next(table for table in PUBLISHED if table.name == name)
    given = [value for value in table.aurocs if value is not None]
    assert len(table.aurocs) == 14
    assert np.mean(given) == pytest.approx(mean, abs=0.001)
    assert len(given) == (8 if name == "Wang 2017" else 14)


@pytest.mark.parametrize(
    ("split", "pictures", "tested", "names", "caveat"),
    [
        ("image-random", 112_120, 22_424, {"Wang 2017", "Yao 2017", "CheXNet"}, "patients they had never seen"),
        ("patient-random", 112_120, 22_424, {"Wang 2017", "Yao 2017", "CheXNet"}, ""),
        ("patient-random", 3_971, 794, {"Wang 2017", "Yao 2017", "CheXNet"}, "3,971 of the 112,120"),
        ("official", 112_120, 25_596, {"SwinCheX"}, ""),
        ("official", 3_971, 1_366, {"SwinCheX"}, "1,366 of the 25,596"),
    ],
)
def test_only_tables_of_the_same_kind_of_split_are_shown_and_a_difference_is_named(
    split: str, pictures: int, tested: int, names: set[str], caveat: str
) -> None:
    comparison = comparison_for(split, pictures, tested)
    assert set(comparison.as_dict()["tables"]) == names
    assert comparison.as_dict()["comparable"] is (caveat == "")
    assert caveat in comparison.caveat
