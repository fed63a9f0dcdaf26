"""What was measured becomes a file that people read: rows, bars, and how many of them are met."""

from __future__ import annotations

from typing import Any

from benchmarks.bars import at_least, at_most
from benchmarks.document import part, with_part

ORDER = ("receive", "analyse", "network")


def found(**further: Any) -> dict[str, Any]:
    return {"rows": [{"coding": "RLE", "ms": 93.0, "fast": None, "noisy": False}]} | further


def test_a_bar_is_met_by_what_was_measured_and_not_by_what_is_shown() -> None:
    assert at_least("ours / plain", 0.699, (0.70, 0.90)).met is False
    assert str(at_least("ours / plain", 0.699, (0.70, 0.90))) == "ours / plain: 0.7, must 0.7, aim 0.9: NOT met"
    assert at_most("seconds", 2.0, (2.0, 1.0)).met is True
    assert at_most("seconds", 2.001, (2.0, 1.0)).met is False


def test_rows_show_what_is_missing_as_a_dash_and_mark_what_others_disturbed() -> None:
    quiet, disturbed = {"coding": "RLE", "fast": None, "noisy": False}, {"coding": "LE", "fast": 1.5, "noisy": True}
    lines = part("analyse", {"rows": [quiet, disturbed]}, "a machine").splitlines()
    assert "| coding | fast |" in lines
    assert "| RLE | - |" in lines
    assert "| LE (noisy) | 1.5 |" in lines


def test_a_bar_inside_a_cell_does_not_divide_it() -> None:
    assert r"| max \|dp\| |" in part("network", {"rows": [{"max |dp|": "1e-5"}]}, "a machine")


def test_the_bars_of_all_parts_stand_first_and_are_counted() -> None:
    met = at_least("RLE, as it comes / plain", 8.5, (7, 10)).as_dict()
    missed = at_most("a study, ms", 200.0, (150, 50), 0).as_dict()
    document = with_part("", "network", part("network", found(bars=[missed]), "a machine"), ORDER)
    document = with_part(document, "analyse", part("analyse", found(bars=[met]), "a machine"), ORDER)
    head = document.split("<!-- part:")[0]
    assert "1 of 2 bars are met." in head
    assert "| analyse | RLE, as it comes / plain | 8.5 | 7 | 10 | met |" in head
    assert "| network | a study, ms | 200 | 150 | 50 | **not met** |" in head


def test_a_part_replaces_its_earlier_one_and_leaves_the_others_as_they_were() -> None:
    document = ""
    for name in ("network", "receive"):
        document = with_part(document, name, part(name, found(notes=[f"first {name}"]), "a machine"), ORDER)
    again = with_part(document, "network", part("network", found(notes=["second"]), "another machine"), ORDER)
    assert again.count("## network") == 1 and "first network" not in again and "second" in again
    assert "first receive" in again
    assert again.index("## receive") < again.index("## network")
    assert with_part(again, "network", part("network", found(notes=["second"]), "another machine"), ORDER) == again


def test_what_was_not_measured_says_why_and_counts_as_no_bar() -> None:
    text = part("receive", "not measured: it ended with status 2 (storescu is not installed)", "a machine")
    document = with_part("", "receive", text, ORDER)
    assert "storescu is not installed" in document
    assert "bars are met" not in document
