"""One head from finished features: trained, scored on the test part once, and written with all that is known of it."""

from __future__ import annotations

import csv
import hashlib
import logging
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.labels import LABELS
from training.data.cache import file_sha256
from training.data.cache_index import read_json, write_json, write_whole
from training.heads.errors import HeadError, writing_to
from training.heads.figures import head_figures
from training.heads.fit import FittedHead, fit_head
from training.heads.perceptron import logits_of, probabilities_of, write_head
from training.heads.plots import auroc_bars, learning_curve
from training.heads.published import comparison_for
from training.heads.recipe import HeadRecipe
from training.heads.shards import NOTICE, FeatureTable, read_features, read_manifest
from training.heads.split import TEST, TRAINING, VALIDATION, short_mark
from training.heads.table import METADATA_COLUMNS, HeadTable, head_table
from training.heads.workers import interruptible
from training.progress import RateBar

logger = logging.getLogger(__name__)

HEAD_FILE, FACTS_FILE, PREDICTIONS_FILE = "head.safetensors", "head.json", "predictions.csv"


def make_head(features: Path, out: Path, recipe: HeadRecipe, initial: Path | None = None) -> dict[str, Any]:
    """Train a head, score it, write its folder and return the content of ``head.json``.

    The same call continues a broken run.

    Parameters
    ----------
    initial
        Folder of an earlier head on the same features, drawn as the initial one; None: this head before training.

    Raises
    ------
    HeadError
        The features are not finished or not fit, or ``initial`` is of other features.
    CheckpointError
        ``out`` holds another head's checkpoint.
    TrainingInterruptedError
        The run was asked to stop.
    """
    manifest = read_manifest(features)
    earlier = _earlier(initial, manifest) if initial is not None else None
    rows = read_features(features)
    table = head_table(rows, metadata=recipe.head.metadata)
    logger.info("%s", manifest["split"]["mark"])
    with writing_to(out):
        fitted = _fit(table, recipe, manifest, out)
        _write_weights(out, fitted, recipe, manifest)
        write_whole(_predictions(fitted, table, rows, manifest["split"]).encode(), out / PREDICTIONS_FILE)
        facts = _facts(fitted, recipe, manifest) | {"sha256": file_sha256(out / HEAD_FILE)}
        facts |= _scores(fitted, table, rows, recipe)
        if earlier is not None:
            facts["initial"] = earlier
        _draw(out, fitted, facts, initial)
        write_json(facts, out / FACTS_FILE)
    return facts


def _scores(fitted: FittedHead, table: HeadTable, rows: FeatureTable, recipe: HeadRecipe) -> dict[str, Any]:
    """Return the figures on the test part of the best epoch (``test``) and of the start (``initial``)."""
    test = table.rows(TEST)
    inputs, targets, patients = table.inputs[test], table.targets[test], rows.patient_id[test]
    samples = (recipe.head.bootstrap_samples, recipe.seed)
    heads = {"test": fitted.best, "initial": fitted.initial}
    return {
        name: head_figures(logits_of(head, inputs), targets, patients, *samples).as_dict()
        for name, head in heads.items()
    }


def _fit(table: HeadTable, recipe: HeadRecipe, manifest: dict[str, Any], out: Path) -> FittedHead:
    values = [manifest["settings_sha256"], str(recipe.seed), recipe.head.model_dump_json(exclude={"bootstrap_samples"})]
    fingerprint = hashlib.sha256(" ".join(values).encode()).hexdigest()
    counts = [len(table.rows(part)) for part in (TRAINING, VALIDATION, TEST)]
    logger.info("%d columns; %d training, %d validation, %d test rows", table.inputs.shape[1], *counts)
    with interruptible(), RateBar("Head", "epochs", recipe.head.epochs) as bar:
        return fit_head(
            table,
            recipe.head,
            recipe.seed,
            lambda entry: bar.update(int(entry["epoch"]), f"validation loss {entry['validation_loss']:.4f}"),
            out / "checkpoint.pt",
            fingerprint,
        )


def _earlier(folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    facts = read_json(folder / FACTS_FILE)
    if facts is None:
        raise HeadError(f"{folder}: no finished head to set beside this one; name the --out of an earlier `head`")
    if facts["features"]["settings_sha256"] != manifest["settings_sha256"]:
        raise HeadError(f"{folder}: that head was made from other features; its figures cannot stand beside these")
    figures: dict[str, Any] = facts["test"]
    return figures


def _facts(fitted: FittedHead, recipe: HeadRecipe, manifest: dict[str, Any]) -> dict[str, Any]:
    rows = manifest["rows"]
    comparison = comparison_for(manifest["split"]["kind"], sum(rows.values()), rows[TEST])
    return {
        "notice": NOTICE,
        "split": manifest["split"],
        "recipe": recipe.name,
        "seed": recipe.seed,
        "head": recipe.head.model_dump(mode="json"),
        "columns": {"features": manifest["backbone"]["features"], "then": _appended(recipe)},
        "parameters": fitted.best.parameter_count,
        "features": {"settings_sha256": manifest["settings_sha256"], "backbone": manifest["backbone"], "rows": rows},
        "best_epoch": fitted.best_epoch,
        "best_validation_loss": fitted.best_validation_loss,
        "published": comparison.as_dict(),
        "history": fitted.history,
    }


def _appended(recipe: HeadRecipe) -> list[str]:
    return list(METADATA_COLUMNS) if recipe.head.metadata else []


def _write_weights(out: Path, fitted: FittedHead, recipe: HeadRecipe, manifest: dict[str, Any]) -> None:
    facts = {
        "notice": NOTICE,
        "split": manifest["split"]["mark"],
        "recipe": recipe.name,
        "backbone": manifest["backbone"],
        "size_px": manifest["settings"]["features"]["size_px"],
        "appended": _appended(recipe),
    }
    write_head(out / HEAD_FILE, fitted.best, facts)


def _predictions(fitted: FittedHead, table: HeadTable, rows: FeatureTable, split: dict[str, Any]) -> str:
    """Return CSV of what the head says of the validation and test pictures; sigmoids, not calibrated."""
    mark = short_mark(split)
    stream = StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["image_index", "part", "split", "finding_labels", *LABELS])
    chosen = np.concatenate([table.rows(VALIDATION), table.rows(TEST)])
    probabilities = probabilities_of(logits_of(fitted.best, table.inputs[chosen]))
    for row, said in zip(chosen.tolist(), probabilities.tolist(), strict=True):
        found = _labels(table.targets[row])
        writer.writerow([rows.image_index[row], rows.part[row], mark, found, *(f"{value:.6f}" for value in said)])
    return stream.getvalue()


def _labels(targets: NDArray[np.float32]) -> str:
    return "|".join(label for label, truth in zip(LABELS, targets, strict=True) if truth) or "No Finding"


def _draw(out: Path, fitted: FittedHead, facts: dict[str, Any], initial: Path | None) -> None:
    split, rows = facts["split"], facts["features"]["rows"]
    write_whole(learning_curve(fitted.history, fitted.best_epoch, split), out / "learning_curve.png")
    names = (f"initial: {initial.name}" if initial else "initial: before training", f"best: epoch {fitted.best_epoch}")
    comparison = comparison_for(split["kind"], sum(rows.values()), rows[TEST])
    write_whole(auroc_bars(facts["initial"], facts["test"], comparison, split, names), out / "auroc.png")
