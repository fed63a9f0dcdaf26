"""The features of a data set: choose and cut the rows, compute what is not there yet, write the manifest."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision

from training.data.cache import PictureCache, file_sha256
from training.data.cache_index import read_json, write_json
from training.data.folder import read_folder
from training.data.radiographs import LabelledRadiographs
from training.heads.backbone import BackboneChoice, load_backbone
from training.heads.errors import HeadError
from training.heads.extraction import ExtractionPlan, ShardJob, extract
from training.heads.recipe import HeadRecipe
from training.heads.shards import MANIFEST, NOTICE, SETTINGS, FeatureRow, shard_facts, shard_path
from training.heads.split import PARTS, TRAINING, RowParts, cut_rows
from training.material import DataChoices, Material, complete_material
from training.output import only_run, writing_to
from training.parallel import training_device
from training.progress import RateBar

logger = logging.getLogger(__name__)

FORMAT = 1


def make_features(
    data: DataChoices, folder: Path, recipe: HeadRecipe, init_file: Path | None, workers: int
) -> dict[str, Any]:
    """Compute the features of every usable picture and return the manifest; the same call continues a broken run.

    Raises
    ------
    LayoutError, CacheError
        The pictures cannot be used, or a part would be empty.
    InitError
        The weights of the backbone are not at hand.
    HeadError
        The folder holds other features, or the backbone cannot be used.
    OutputError
        The folder cannot be written to, or another command is at work there.
    TrainingInterruptedError
        The run was asked to stop.
    """
    choices = recipe.features
    release = None if recipe.data.release == "newest" else recipe.data.release
    data = replace(data, release=release)
    listed = read_folder(data.folder, data.release)
    choice = BackboneChoice(choices.backbone, choices.init, init_file, choices.size_px, recipe.seed)
    backbone, weights_sha256 = load_backbone(choice, torch.device("cpu"))  # refuse before any picture is read
    width = backbone.features_of(np.zeros((1, choices.size_px, choices.size_px), np.uint8)).shape[1]
    material = complete_material(listed, data, choices.size_px)
    parts = cut_rows(material.radiographs, recipe)
    _say(parts)
    rows = feature_rows(material.radiographs, parts, recipe)
    facts = {"name": backbone.name, "source": backbone.source, "weights_sha256": weights_sha256, "features": width}
    settings = _settings(recipe, rows, material, facts)
    plan = ExtractionPlan(folder, data.cache, choice, choices.batch_size, _shard_facts(settings, parts))
    logger.info("%s, %s: %d features of %d pictures", backbone.name, backbone.source, width, len(rows))
    with only_run(folder), writing_to(folder):
        _claim(folder, settings)
        manifest = {
            "notice": NOTICE,
            "format": FORMAT,
            "split": parts.facts(),
            "settings_sha256": plan.facts["settings_sha256"],
            "settings": settings,
            "backbone": facts,
            "rows": {part: sum(row.part == part for row in rows) for part in PARTS},
            "left_out": parts.left_out,
            "shards": _fill(plan, rows, choices.shard_rows, workers),
        }
        write_json(manifest, folder / MANIFEST)
    return manifest


def _say(parts: RowParts) -> None:
    logger.log(logging.WARNING if parts.cut.leaky else logging.INFO, "%s", parts.cut.mark)
    if parts.left_out:
        first, reason = next(iter(parts.left_out.items()))
        logger.warning("%d pictures are left out, e.g. %s: %s", len(parts.left_out), first, reason)


def feature_rows(radiographs: LabelledRadiographs, parts: RowParts, recipe: HeadRecipe) -> list[FeatureRow]:
    """Return the used rows in the order of the lists, with their part and whether they are mirrored.

    Mirroring is a draw of (seed, place among the sorted names), and of the training part only.
    """
    names = tuple(name for name in radiographs.listed if name in parts.part_of)
    draws = np.random.default_rng([recipe.seed, 10]).random(len(names))
    mirrored = dict(zip(sorted(names), (draws < recipe.features.flip_probability).tolist(), strict=True))
    targets = radiographs.targets(names).astype(int).tolist()
    rows = []
    for name, truth in zip(names, targets, strict=True):
        entry, part = radiographs.entries[name], parts.part_of[name]
        flipped = part == TRAINING and mirrored[name]
        rows.append(FeatureRow(name, entry.patient_id, part, flipped, entry.age_years, entry.sex, tuple(truth)))
    return rows


def _settings(
    recipe: HeadRecipe, rows: list[FeatureRow], material: Material, backbone: dict[str, Any]
) -> dict[str, Any]:
    """Return everything the shards depend on."""
    return {
        "recipe": recipe.name,
        "seed": recipe.seed,
        "data": recipe.data.model_dump(mode="json"),
        "validation_share": recipe.validation_share,
        "features": recipe.features.model_dump(mode="json", exclude={"backbone", "init"}),
        "backbone": backbone["name"],
        "weights_sha256": backbone["weights_sha256"],
        "rows_sha256": hashlib.sha256("\n".join(map(str, rows)).encode()).hexdigest(),
        "pixels_sha256": _pixels_sha256(material.cache, rows),
        "device": training_device().type,
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }


def _pixels_sha256(cache: PictureCache, rows: list[FeatureRow]) -> str:
    """Return the hash of the pictures' checksums."""
    places = [cache.rows[row.image_index] for row in rows]
    return hashlib.sha256(cache.index.records["pixels_crc32"][places].tobytes()).hexdigest()


def _shard_facts(settings: dict[str, Any], parts: RowParts) -> dict[str, str]:
    settings_sha256 = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    return {"settings_sha256": settings_sha256, "split": parts.cut.mark}


def _claim(folder: Path, settings: dict[str, Any]) -> None:
    """Note the settings in the folder, or insist that they are those it was started with."""
    earlier = read_json(folder / SETTINGS)
    if earlier is None:
        write_json(settings, folder / SETTINGS)
        return
    changed = sorted(key for key in settings | earlier if settings.get(key) != earlier.get(key))
    if changed:
        raise HeadError(
            f"{folder} holds features made with other settings ({', '.join(changed)} differ); "
            "give another --out, or delete that folder to start over"
        )


def _fill(plan: ExtractionPlan, rows: list[FeatureRow], shard_rows: int, workers: int) -> list[dict[str, Any]]:
    """Make the shards that are not there yet; return file, rows and sha256 of each."""
    cut = [rows[start : start + shard_rows] for start in range(0, len(rows), shard_rows)]
    paths = [shard_path(plan.folder, number) for number in range(len(cut))]
    known = {
        shard["file"]: shard["sha256"] for shard in (read_json(plan.folder / MANIFEST) or {"shards": []})["shards"]
    }
    jobs = [ShardJob(number, part) for number, part in enumerate(cut) if not _is_whole(paths[number], plan, known)]
    done_before = len(rows) - sum(len(job.rows) for job in jobs)
    if done_before:
        logger.info("%d of %d shards are there already", len(cut) - len(jobs), len(cut))
    if jobs:
        with RateBar("Features", "images", len(rows), done_before) as bar:
            extract(plan, jobs, workers, lambda done: bar.update(done_before + done))
    return [
        {"file": path.name, "rows": len(part), "sha256": file_sha256(path)}
        for path, part in zip(paths, cut, strict=True)
    ]


def _is_whole(path: Path, plan: ExtractionPlan, known: dict[str, str]) -> bool:
    """Whether a shard is of these settings and, where an earlier manifest knows it, unaltered."""
    facts = shard_facts(path)
    if facts is None or facts.get("settings_sha256") != plan.facts["settings_sha256"]:
        return False
    return path.name not in known or file_sha256(path) == known[path.name]
