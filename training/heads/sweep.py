"""A grid of learning rates and weight decays, every pair trained once, side by side; finished pairs are kept.

The pair with the lowest validation loss wins; the test part is not looked at.
"""

from __future__ import annotations

import csv
import hashlib
import logging
import time
from dataclasses import dataclass
from functools import partial
from io import StringIO
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.cache_index import read_json, write_json, write_whole
from training.heads.errors import HeadDivergedError, HeadError
from training.heads.figures import mean_auroc
from training.heads.fit import FittedHead, fit_head
from training.heads.perceptron import logits_of
from training.heads.plots import heat_plot
from training.heads.recipe import HeadChoices, HeadRecipe
from training.heads.shards import NOTICE, read_features, read_manifest
from training.heads.split import VALIDATION, short_mark
from training.heads.table import HeadTable, head_table, open_head_table
from training.heads.workers import Pulse, run_jobs
from training.output import only_run, writing_to
from training.parallel import TrainingInterruptedError
from training.progress import RateBar

logger = logging.getLogger(__name__)

SWEEP_FILE = "sweep.json"
_COLUMNS = ("learning_rate", "weight_decay", "validation_loss", "validation_mean_auroc", "best_epoch", "epochs")


@dataclass(frozen=True)
class Cell:
    """One pair of the grid."""

    choices: HeadChoices
    file: Path
    fingerprint: str


def run_sweep(features: Path, out: Path, recipe: HeadRecipe, workers: int) -> dict[str, Any]:
    """Train the grid and return the content of ``sweep.json``; the same call continues a broken run.

    Raises
    ------
    HeadError
        The features are not finished or not fit, or ``out`` holds another sweep.
    OutputError
        The folder cannot be written to, or another command is at work there.
    TrainingInterruptedError
        The run was asked to stop.
    """
    manifest = read_manifest(features)
    logger.info("%s", manifest["split"]["mark"])
    cells = _cells(out / "cells", recipe, manifest["settings_sha256"])
    waiting = [cell for cell in cells if _result(cell) is None]
    if len(waiting) < len(cells):
        logger.info("%d of %d pairs are there already", len(cells) - len(waiting), len(cells))
    with only_run(out), writing_to(out / "cells"):
        if waiting:
            head_table(read_features(features), metadata=recipe.head.metadata).write(out / "table")
            _train(out / "table", waiting, recipe, workers)
        results = [result for cell in cells if (result := _result(cell)) is not None]
        return _conclude(out, recipe, manifest, results)


def lowest(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the result with the lowest validation loss; of equal ones the first.

    Raises
    ------
    HeadError
        No pair could be trained.
    """
    trained = [result for result in results if result["validation_loss"] is not None]
    if not trained:
        raise HeadError("the loss of every pair of the grid ended as no number; lower the learning rates of the recipe")
    return min(trained, key=lambda result: float(result["validation_loss"]))


def on_the_edge(best: dict[str, Any], recipe: HeadRecipe) -> list[str]:
    """Return the choices of the best pair that are the smallest or largest of the grid: the grid may be too small."""
    edges = []
    for name, values in (
        ("learning_rate", recipe.sweep.learning_rates),
        ("weight_decay", recipe.sweep.weight_decays),
    ):
        if len(values) > 1 and best[name] in (max(values), min(values)) and best[name] != 0:
            edges.append(name)
    return edges


def _cells(folder: Path, recipe: HeadRecipe, settings_sha256: str) -> list[Cell]:
    cells = []
    for learning_rate, weight_decay in product(recipe.sweep.learning_rates, recipe.sweep.weight_decays):
        changed = {"learning_rate": learning_rate, "weight_decay": weight_decay, "epochs": recipe.sweep.epochs}
        choices = recipe.head.model_copy(update=changed)
        values = (settings_sha256, str(recipe.seed), choices.model_dump_json(exclude={"bootstrap_samples"}))
        name = f"lr-{learning_rate:g}_wd-{weight_decay:g}.json"
        cells.append(Cell(choices, folder / name, hashlib.sha256(" ".join(values).encode()).hexdigest()))
    return cells


def _result(cell: Cell) -> dict[str, Any] | None:
    result = read_json(cell.file)
    if result is not None and result["fingerprint"] != cell.fingerprint:
        raise HeadError(
            f"{cell.file} is of another sweep (features, seed or recipe differ); give another --out, or delete it"
        )
    return result


def _train(table: Path, cells: list[Cell], recipe: HeadRecipe, workers: int) -> None:
    epochs = len(cells) * recipe.sweep.epochs
    with RateBar(f"Sweep of {len(cells)} heads", "epochs", epochs) as bar:
        work = partial(_fit_cell, recipe.seed)
        run_jobs(partial(open_head_table, table), work, cells, min(workers, len(cells)), bar.update)


def _fit_cell(seed: int, table: HeadTable, cell: Cell, pulse: Pulse) -> None:
    started = time.monotonic()

    def report(entry: dict[str, float]) -> None:
        del entry
        pulse.advance(1)
        if pulse.stopping:
            raise TrainingInterruptedError("stopped")

    try:
        found = _of_fitted(fit_head(table, cell.choices, seed, report), table)
    except HeadDivergedError as error:  # which says something of the pair, and nothing of the others
        logger.warning("%s: %s", cell.file.stem, error)
        found = dict.fromkeys(("validation_loss", "validation_mean_auroc", "best_epoch"))
    result = {
        "fingerprint": cell.fingerprint,
        "learning_rate": cell.choices.learning_rate,
        "weight_decay": cell.choices.weight_decay,
        "epochs": cell.choices.epochs,
        "seconds": round(time.monotonic() - started, 1),
    }
    write_json(result | found, cell.file)


def _of_fitted(fitted: FittedHead, table: HeadTable) -> dict[str, Any]:
    rows = table.rows(VALIDATION)
    score = mean_auroc(logits_of(fitted.best, table.inputs[rows]), table.targets[rows])
    return {
        "validation_loss": fitted.best_validation_loss,
        "validation_mean_auroc": None if np.isnan(score) else score,
        "best_epoch": fitted.best_epoch,
        "history": fitted.history,
    }


def _conclude(out: Path, recipe: HeadRecipe, manifest: dict[str, Any], results: list[dict[str, Any]]) -> dict[str, Any]:
    best, split = lowest(results), manifest["split"]
    grid = recipe.sweep
    write_whole(_csv(results, split).encode(), out / "sweep.csv")
    write_whole(heat_plot(_losses(results, recipe), grid.learning_rates, grid.weight_decays, split), out / "sweep.png")
    facts = {
        "notice": NOTICE,
        "split": split,
        "recipe": recipe.name,
        "seed": recipe.seed,
        "features": {"settings_sha256": manifest["settings_sha256"], "backbone": manifest["backbone"]},
        "best": {name: best[name] for name in _COLUMNS},
        "on_the_edge_of_the_grid": on_the_edge(best, recipe),
        "pairs": [{name: result[name] for name in (*_COLUMNS, "seconds")} for result in results],
    }
    write_json(facts, out / SWEEP_FILE)
    return facts


def _csv(results: list[dict[str, Any]], split: dict[str, Any]) -> str:
    stream = StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*_COLUMNS, "split"])
    for result in results:
        writer.writerow([*(result[name] for name in _COLUMNS), short_mark(split)])
    return stream.getvalue()


def _losses(results: list[dict[str, Any]], recipe: HeadRecipe) -> NDArray[np.float64]:
    """Return the validation losses, [learning rates, weight decays]; NaN where a pair could not be trained."""
    by_pair = {(result["learning_rate"], result["weight_decay"]): result["validation_loss"] for result in results}
    grid = recipe.sweep
    rows = [[by_pair[rate, decay] for decay in grid.weight_decays] for rate in grid.learning_rates]
    return np.array(rows, dtype=np.float64)
