"""Small features and tables for the tests of heads."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from layouts import write_layout
from PIL import Image

from model.labels import LABELS
from training.data.cache import file_sha256
from training.data.cache_index import write_json
from training.data.radiographs import Entry, LabelledRadiographs
from training.heads.features import feature_rows
from training.heads.recipe import HeadRecipe, parse_head_recipe
from training.heads.shards import MANIFEST, shard_path, write_shard
from training.heads.split import PARTS, cut_rows
from training.heads.table import HeadTable

TINY_RECIPE = """
kind = "head"
name = "tiny"
[data]
split = "image-random"
shares = [0.6, 0.2, 0.2]
[features]
backbone = "shufflenet_v2_x0_5"
init = "random"
size_px = 32
batch_size = 1
shard_rows = 3
[head]
hidden = [4]
learning_rate = 0.01
epochs = 3
bootstrap_samples = 100
[sweep]
learning_rates = [0.001, 0.03]
weight_decays = [0.0, 0.01]
epochs = 2
"""


def head_recipe(split: str = "image-random", *, oldest_years: int = 123, **head: Any) -> HeadRecipe:
    """Return the recipe of a small logistic regression; other keywords are keys of its ``[head]``."""
    values: dict[str, Any] = {"hidden": (), "batch_size": 4, "epochs": 3, "bootstrap_samples": 100} | head
    data = {"split": split, "oldest_years": oldest_years}
    return parse_head_recipe({"kind": "head", "name": "trial", "data": data, "head": values}, "trial.toml")


def bright_layout(root: Path, patients: int = 30) -> list[str]:
    """Write two pictures of each patient, the one with Effusion and Mass brighter; return their names."""
    names = write_layout(root, patients=2 * patients, test_patients=12, size_px=32)
    table = root / "Data_Entry_2017.csv"
    lines = table.read_text().splitlines()
    for number, name in enumerate(names, start=1):
        cells = lines[number].split(",")
        cells[3] = str((number + 1) // 2)  # Patient ID
        lines[number] = ",".join(cells)
        path = root / "images" / name
        with Image.open(path) as image:
            pixels = np.array(image) // 2
        Image.fromarray(pixels + np.uint8(100 * (number % 2))).save(path)
    table.write_text("\n".join(lines) + "\n")
    return names


def separable_table(rows: int = 200, columns: int = 6) -> HeadTable:
    """Return a table whose first column tells the first finding and the rest is noise; the others are rare chance."""
    rng = np.random.default_rng(4)
    targets = (rng.random((rows, 14)) < 0.2).astype(np.float32)
    inputs = rng.normal(size=(rows, columns)).astype(np.float32)
    inputs[:, 0] += 4 * targets[:, 0]
    part = np.array([PARTS.index("training")] * (rows // 2) + [1] * (rows // 4) + [2] * (rows // 4), dtype=np.int8)
    return HeadTable(inputs, targets, part)


def write_features(folder: Path, *, split: str = "image-random", width: int = 6, patients: int = 40) -> None:
    """Write finished features, five pictures a patient; the first column tells Effusion, Hernia has no case."""
    radiographs = follow_ups(patients)
    rng = np.random.default_rng(3)
    for name, entry in radiographs.entries.items():
        found = {label for label in LABELS[:-1] if rng.random() < 0.3}
        radiographs.entries[name] = replace(entry, labels=frozenset(found), sex="MF"[int(rng.integers(2))])
    recipe = head_recipe(split)
    parts = cut_rows(radiographs, recipe)
    rows = feature_rows(radiographs, parts, recipe)
    values = rng.normal(size=(len(rows), width)).astype(np.float32)
    values[:, 0] += [4 * row.targets[LABELS.index("Effusion")] for row in rows]
    folder.mkdir(parents=True)
    write_shard(shard_path(folder, 0), rows, values, {"settings_sha256": "trial"})
    shard = {"file": shard_path(folder, 0).name, "sha256": file_sha256(shard_path(folder, 0))}
    manifest = {
        "split": parts.facts(),
        "settings_sha256": hashlib.sha256(values.tobytes()).hexdigest(),
        "settings": {"features": {"size_px": 224}},
        "backbone": {"name": "drawn", "features": width},
        "rows": {part: sum(row.part == part for row in rows) for part in PARTS},
        "shards": [shard],
    }
    write_json(manifest, folder / MANIFEST)


def follow_ups(patients: int = 40, pictures_each: int = 5, **fields: Any) -> LabelledRadiographs:
    """Return the lists of several pictures of every patient, the last quarter of the patients in the test list."""
    entries = {}
    for patient in range(patients):
        for number in range(pictures_each):
            name = f"{patient:08d}_{number:03d}.png"
            values = {"age_years": 50, "sex": "M", "view": "PA"} | fields
            entries[name] = Entry(name, frozenset(), str(patient), **values)
    names, cut = tuple(entries), patients * pictures_each * 3 // 4
    return LabelledRadiographs(Path("trial"), entries, {}, names[:cut], names[cut:], {}, None, "trial")
