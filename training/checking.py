"""The suitability check of a bundle: taught by data sets, tried on their test lists, put into bundle and card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from model.bundle import Bundle
from model.suitability import SuitabilityCheck
from training.progress import RateBar
from training.reporting.suitability_section import with_suitability
from training.rewriting import facts_of, rewrite
from training.suitability.chests import DataSet, chests_of
from training.suitability.examples import Material, Picture
from training.suitability.fit import BATCH_SIZE, fit_check
from training.suitability.trial import try_check


def taught_check(
    data_sets: Sequence[DataSet], outsiders: Sequence[Picture], *, steps: int, seed: int
) -> SuitabilityCheck:
    """Return a check taught by the data sets' train_val lists, with the figures of a trial on their test lists.

    Parameters
    ----------
    outsiders
        Real pictures of anything but a frontal chest, uint8 [S, S] each; may be empty.

    Raises
    ------
    LayoutError
        A part of a data set would be empty.
    """
    chests = chests_of(data_sets, seed)
    words = f"{chests.description}, their alterations, drawn decoys and {len(outsiders)} pictures of other things"
    with RateBar("Teaching the suitability check", "img", steps * BATCH_SIZE) as bar:
        check = fit_check(
            Material(chests.taught, tuple(outsiders)),
            chests.held_back,
            words,
            chests.list_sha256,
            lambda done, total: bar.update(done * BATCH_SIZE),
            steps=steps,
            seed=seed,
        )
    tried = f"{len(chests.tried):,} pictures of the test lists, of patients it has not seen"
    return check.with_trial(try_check(check, chests.tried, tried))


def with_check(bundle: Bundle, check: SuitabilityCheck, folder: Path) -> Bundle:
    """Write the bundle with this check into a folder, its own or another; everything else stays as it is."""
    card = with_suitability(bundle.card_path.read_text(encoding="utf-8"), check.facts)
    return rewrite(bundle, folder, facts_of(bundle), card, check)
