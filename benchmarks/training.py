"""Training's parts against the plain way to do the same: ``python -m benchmarks.training`` from the project's folder.

Prints medians, ratios and the bar of the design (input pipeline / step), and checks every result beside its speed.
``--cache`` takes the pictures of a real cache; without it they are noise.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import v2

from benchmarks.bars import Bar, at_most
from benchmarks.windows import Measured, in_turn
from model.preprocess import GREY_MEAN, GREY_STD, INPUT_SIZE_PX
from training.bench import Bench, noise_cache
from training.data.augment import random_matrices, warp
from training.data.cache import open_cache
from training.data.cache_build import read_for_cache
from training.recipe import Augmentation, Recipe, load_recipe

INPUT_BAR = (1.0, 0.5)
"""Input pipeline / step on a GPU: what must hold and what is aimed at (design/performance.md)."""
_ORIGINAL_PX = 1024


@dataclass(frozen=True)
class Row:
    """One line of the result: our way beside the plain one."""

    what: str
    ours: Measured
    plain: Measured
    pictures: int
    """In each run."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "what": self.what,
            "ours, images/s": round(self.pictures / self.ours.median_seconds, 2),
            "plain, images/s": round(self.pictures / self.plain.median_seconds, 2),
            "ratio": round(self.plain.median_seconds / self.ours.median_seconds, 3),
            "noisy": self.ours.noisy or self.plain.noisy,
        }


def decode(folder: Path) -> Row:
    """From a 1024 px PNG to a row of the cache, checksums compared, against Pillow alone."""
    path = folder / "original.png"
    ramp = np.add.outer(np.arange(_ORIGINAL_PX), np.arange(_ORIGINAL_PX)) % 251
    noise = np.random.default_rng(1).integers(0, 5, ramp.shape)
    Image.fromarray((ramp + noise).astype(np.uint8)).save(path)

    def plain() -> np.ndarray[Any, Any]:
        with Image.open(path) as image:
            return np.array(image.convert("L").resize((INPUT_SIZE_PX,) * 2, Image.Resampling.BILINEAR))

    def ours() -> object:
        return read_for_cache((str(path), INPUT_SIZE_PX))

    reading = read_for_cache((str(path), INPUT_SIZE_PX))
    assert not isinstance(reading, str), reading
    assert np.array_equal(reading[0], plain())
    measured = in_turn({"ours": ours, "plain": plain}, 0.2)
    return Row("decode a 1024 px PNG into the cache / Pillow alone", measured["ours"], measured["plain"], 1)


def gather(cache_folder: Path, batch_size: int) -> Row:
    """A random batch from the cache, against indexing the memory map."""
    cache = open_cache(cache_folder)
    names = tuple(cache.rows)
    chosen = np.random.default_rng(2).integers(0, len(names), batch_size)
    wanted = tuple(names[row] for row in chosen)
    rows = np.array([cache.rows[name] for name in wanted])
    assert np.array_equal(cache.gather(wanted), cache.pixels[rows])
    measured = in_turn({"ours": lambda: cache.gather(wanted), "plain": lambda: cache.pixels[rows]}, 0.05)
    return Row("gather a batch / index the memory map", measured["ours"], measured["plain"], batch_size)


def augmentation(bench: Bench) -> Row:
    """The whole batch at once on the device, against torchvision's transforms picture by picture on the CPU."""
    choices, size_px = bench.recipe.augmentation, bench.stage.size_px
    transforms = v2.Compose(
        [
            v2.RandomHorizontalFlip(choices.flip_probability),
            v2.RandomAffine(
                choices.rotation_degrees,
                (choices.translate_share,) * 2,
                (1 - choices.scale_share, 1 + choices.scale_share),
                interpolation=v2.InterpolationMode.BILINEAR,
            ),
            v2.ColorJitter(choices.brightness, choices.contrast),
            v2.Resize((size_px, size_px)),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([GREY_MEAN], [GREY_STD]),
        ]
    )
    pictures = bench.pictures.cpu()[:, None]
    unchanged = random_matrices(len(pictures), Augmentation(), torch.Generator())
    same = warp(bench.pictures.cpu(), unchanged, pictures.shape[-1])
    assert torch.allclose(same * 255, pictures.float(), atol=0.01)

    def ours() -> None:
        bench.augmentation()
        bench.wait()

    measured = in_turn({"ours": ours, "plain": lambda: torch.stack([transforms(p) for p in pictures])}, 0.2)
    return Row("augmentation / torchvision picture by picture", measured["ours"], measured["plain"], len(pictures))


def steps(bench: Bench) -> tuple[Row, float]:
    """The network's step as the recipe runs it, against fp32 NCHW; and the input pipeline as a share of it."""

    def waited(work: Callable[[], object]) -> Callable[[], object]:
        def run() -> None:
            work()
            bench.wait()

        return run

    ways = {name: waited(step) for name, step in bench.steps().items()}
    chosen = {name: ways[name] for name in ("fp32 NCHW", bench.recipe_step)}
    measured = in_turn({**chosen, "loader": waited(bench.loader), "augmentation": waited(bench.augmentation)})
    step = measured[bench.recipe_step]
    share = (measured["loader"].median_seconds + measured["augmentation"].median_seconds) / step.median_seconds
    return Row(f"step {bench.recipe_step} / fp32 NCHW", step, measured["fp32 NCHW"], bench.stage.batch_size), share


def main() -> None:
    """Measure, print, and end with status 1 on a GPU whose input pipeline is the limit."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--recipe", default="densenet121", help="recipe name or TOML file")
    parser.add_argument("--batch-size", type=int, help="images in a step; default: the recipe's")
    parser.add_argument("--cache", type=Path, help="finished picture cache; default: noise")
    parser.add_argument("--json", action="store_true", help="write JSON to standard output")
    arguments = parser.parse_args()
    recipe = _with_batch(load_recipe(arguments.recipe), arguments.batch_size)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        cache = arguments.cache or stack.enter_context(noise_cache(INPUT_SIZE_PX, 512))
        bench = Bench(recipe, cache, 0)
        rows = [decode(folder), gather(cache, bench.stage.batch_size), augmentation(bench)]
        step_row, share = steps(bench)
    facts = [row.as_dict() for row in (*rows, step_row)]
    bars = [at_most("input pipeline / step on a GPU", share, INPUT_BAR)] if bench.device.type == "cuda" else []
    found = _found(facts, share, bars, bench)
    if arguments.json:
        json.dump(found, sys.stdout, indent=1)
    else:
        _print(found)
    sys.exit(0 if all(bar.met for bar in bars) else 1)


def _found(facts: list[dict[str, Any]], share: float, bars: list[Bar], bench: Bench) -> dict[str, Any]:
    notes = [
        f"{bench.device.type}, {torch.get_num_threads()} threads, {bench.stage.batch_size} images a step",
        f"the input pipeline takes {share:.3f} of a step here; its bar is for a GPU",
    ]
    return {"rows": facts, "bars": [bar.as_dict() for bar in bars], "notes": notes}


def _with_batch(recipe: Recipe, batch_size: int | None) -> Recipe:
    if batch_size is None:
        return recipe
    stages = tuple(stage.model_copy(update={"batch_size": batch_size}) for stage in recipe.stages)
    return recipe.model_copy(update={"stages": stages})


def _print(found: dict[str, Any]) -> None:
    for row in found["rows"]:
        print(
            f"{row['what']:<52} {row['ours, images/s']:>12,.1f} /{row['plain, images/s']:>12,.1f} "
            f"images/s = {row['ratio']:.2f}{'  (noisy)' if row['noisy'] else ''}"
        )
    print(*found["notes"], *(Bar(**bar) for bar in found["bars"]), sep="\n")


if __name__ == "__main__":
    main()
