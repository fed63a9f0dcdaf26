"""One head from finished features: trained, scored on the test part once, and written with all that is known of it."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

from model.calibration import Calibration
from model.labels import LABELS
from training.data.cache import file_sha256
from training.data.cache_index import read_json, write_json, write_whole
from training.evaluation.predictions import network_predictions, write_predictions
from training.heads.errors import HeadError
from training.heads.figures import head_figures
from training.heads.fit import FittedHead, fit_head
from training.heads.perceptron import logits_of, write_head
from training.heads.plots import auroc_bars, learning_curve
from training.heads.published import Comparison, comparison_for
from training.heads.recipe import HeadRecipe
from training.heads.shards import NOTICE, FeatureTable, read_features, read_manifest
from training.heads.split import TEST, TRAINING, VALIDATION, short_mark
from training.heads.table import METADATA_COLUMNS, HeadTable, head_table
from training.output import only_run, writing_to
from training.parallel import interruptible
from training.progress import RateBar

logger = logging.getLogger(__name__)

HEAD_FILE, FACTS_FILE = "head.safetensors", "head.json"


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
    OutputError
        The folder cannot be written to, or another command is at work there.
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
    with only_run(out), writing_to(out):
        fitted = _fit(table, recipe, manifest, out)
        _write_weights(out, fitted, recipe, manifest)
        _write_predictions(out, fitted, table, rows, manifest, recipe)
        comparison = comparison_for(tuple(rows.image_index[table.rows(TEST)].tolist()))
        facts = _facts(fitted, recipe, manifest) | {"sha256": file_sha256(out / HEAD_FILE)}
        facts |= _scores(fitted, table, rows, recipe)
        if earlier is not None:
            facts["initial"] = earlier
        facts["published"] = comparison.as_dict()
        _draw(out, fitted, facts, comparison, initial)
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
    return {
        "notice": NOTICE,
        "split": manifest["split"],
        "recipe": recipe.name,
        "seed": recipe.seed,
        "head": recipe.head.model_dump(mode="json"),
        "columns": {"features": manifest["backbone"]["features"], "then": _appended(recipe)},
        "parameters": fitted.best.parameter_count,
        "features": {
            "settings_sha256": manifest["settings_sha256"],
            "backbone": manifest["backbone"],
            "rows": manifest["rows"],
        },
        "best_epoch": fitted.best_epoch,
        "best_validation_loss": fitted.best_validation_loss,
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


def _write_predictions(
    out: Path, fitted: FittedHead, table: HeadTable, rows: FeatureTable, manifest: dict[str, Any], recipe: HeadRecipe
) -> None:
    """Write what the head says of the validation and the test pictures, uncalibrated, for ``evaluate`` and ``compare``.

    The name of the model, in every line, carries the mark of the split.
    """
    model = f"head {recipe.name} on {manifest['backbone']['name']}, {short_mark(manifest['split'])}"
    for part in (VALIDATION, TEST):
        chosen = table.rows(part)
        logits = logits_of(fitted.best, table.inputs[chosen])
        names, patients = tuple(rows.image_index[chosen].tolist()), rows.patient_id[chosen]
        said = network_predictions(model, names, patients, logits, Calibration.identity(), (True,) * len(LABELS))
        write_predictions(said, out / f"predictions_{part}.csv")


def _draw(out: Path, fitted: FittedHead, facts: dict[str, Any], comparison: Comparison, initial: Path | None) -> None:
    split = facts["split"]
    write_whole(learning_curve(fitted.history, fitted.best_epoch, split), out / "learning_curve.png")
    names = (f"initial: {initial.name}" if initial else "initial: before training", f"best: epoch {fitted.best_epoch}")
    write_whole(auroc_bars(facts["initial"], facts["test"], comparison, split, names), out / "auroc.png")
