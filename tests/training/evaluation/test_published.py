"""Published figures: every table names its split, and nothing is set beside figures of other pictures."""

from __future__ import annotations

import csv
import gzip

import numpy as np
import pytest
from samples import shared

from training.data.radiographs import list_hash
from training.evaluation.published import published, side_by_side


def test_every_table_names_a_split_and_a_source_and_its_mean_fits_its_findings() -> None:
    for table in published().tables:
        assert table.split in published().splits
        assert table.source
        known = [value for value in table.aurocs if not np.isnan(value)]
        assert all(0.5 < value < 1 for value in known)
        if len(known) == 14:
            assert table.mean_auroc == pytest.approx(np.mean(known), abs=0.0016), table.name


def test_the_figures_are_those_of_the_papers() -> None:
    """Read from the tables of CheXNet (arXiv 1711.05225) and of SwinCheX."""
    by_name = {table.name: table for table in published().tables}
    assert by_name["CheXNet"].auroc("Hernia") == 0.9164
    assert by_name["CheXNet"].split == "own"
    assert by_name["SwinCheX Swin-L"].auroc("Atelectasis") == 0.781
    assert by_name["Wang 2017, 8 findings"].auroc("Hernia") is None


def test_other_pictures_get_nothing_beside_them_and_the_reason() -> None:
    beside = side_by_side(("00000001_000.png", "00000002_000.png"))
    assert beside.split is None
    assert beside.tables == ()
    assert "these 2 pictures are neither the 25,596" in beside.reason


def test_the_whole_official_test_list_gets_official_tables_only_and_a_part_of_it_none() -> None:
    names = tuple((shared("data/nih_metadata") / "test_list.txt").read_text().split())
    beside = side_by_side(names[::-1])  # the order of a list means nothing
    assert beside.split == "official"
    assert {table.split for table in beside.tables} == {"official"}
    assert [t.mean_auroc for t in beside.tables] == sorted((t.mean_auroc for t in beside.tables), reverse=True)
    assert side_by_side(names[:-1]).split is None


def test_the_pictures_of_the_published_predictions_are_the_community_test_part() -> None:
    folder = shared("data/published_predictions")
    with gzip.open(folder / "haooyuee_densenet121_nih_test22433_preds.csv.gz", "rt") as stream:
        names = tuple(row["Image Index"] for row in csv.DictReader(stream))
    beside = side_by_side(names)
    assert beside.split == "community"
    assert {table.name for table in beside.tables} == {"arnoweng", "arnoweng, improved", "zoogzog"}
    assert published().splits["community"].test_list_sha256 == list_hash(names)
