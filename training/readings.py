"""What a bundle says of many pictures, computed as it is served, and kept so that the next command need not again.

On CPUs every core runs the classifier that the worker runs. On a GPU batches go through the same network in float32.
Bundles with a preparation of their own (crops, colours) get the original pictures, others the cached squares, which are
byte for byte what serving makes of the same film.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.bundle import Bundle, load_bundle, read_weights
from model.classifier import Classifier
from model.densenet import network_with
from model.precision import Precision
from training.data.cache import PictureCache, read_grey
from training.data.cache_index import write_whole
from training.data.radiographs import LabelledRadiographs
from training.data.reading_pool import ReadingPool
from training.evaluation.inference import Outputs, outputs_of
from training.output import writing_to
from training.parallel import training_device
from training.progress import RateBar

_BLOCK = 256
"""Pictures handed to the processes at a time; bounds what waits in memory."""
_BLOCKS_BETWEEN_WRITES = 16

Job = tuple[str, Precision, str, NDArray[np.uint8] | None]
"""Folder of the bundle and its precision, path of the picture, and its cached pixels where they are what the network is
to see."""
Answer = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Logits float32 [14] and maps float32 [14, h, w]."""
Kept = dict[str, Answer]
"""By picture name and checksum of its file."""


def read_pictures(
    bundle: Bundle, radiographs: LabelledRadiographs, cache: PictureCache, names: tuple[str, ...], file: Path
) -> Outputs:
    """Return what the bundle's network says of the pictures; only those that are not in ``file`` yet are judged.

    Parameters
    ----------
    cache
        Of the bundle's input size, or of any size for a bundle with a preparation of its own.
    file
        ``.npz`` that is added to on the way; another network's is replaced.

    Raises
    ------
    OutputError
        The file cannot be written.
    ReaderEndedError
        A process that judges pictures was killed.
    UnreadablePictureError
        A picture that the bundle prepares in its own way is no longer what the cache was made of.
    """
    identity = _identity(bundle)
    kept = _read_kept(file, identity)
    keys = dict(zip(names, _keys(cache, names), strict=True))
    wanted = tuple(name for name in names if keys[name] not in kept)
    if bundle.preparation is None and bundle.precision == "fp32" and training_device().type == "cuda":
        network = network_with(read_weights(bundle), bundle.input_channels, bundle.architecture)
        network = network.to(training_device())
        with RateBar("Judging pictures", "img", len(wanted)) as bar:
            found = outputs_of(network, cache, wanted, bundle.input_size_px, told=bar.update)
        kept |= {keys[name]: (found.logits[row], found.maps[row]) for row, name in enumerate(wanted)}
        _write_kept(file, identity, kept)
    else:
        _judge(bundle, radiographs, cache, wanted, keys, kept, file)
    answers = [kept[keys[name]] for name in names]
    return Outputs(np.stack([logits for logits, _ in answers]), np.stack([maps for _, maps in answers]))


def _judge(
    bundle: Bundle,
    radiographs: LabelledRadiographs,
    cache: PictureCache,
    wanted: tuple[str, ...],
    keys: dict[str, str],
    kept: Kept,
    file: Path,
) -> None:
    """Add the answers to ``kept``, and write them now and then, so that an interruption loses little."""
    if not wanted:
        return
    with RateBar("Judging pictures", "img", len(wanted)) as bar, ReadingPool(_classify, len(wanted), None) as pool:
        for number, start in enumerate(range(0, len(wanted), _BLOCK), start=1):
            block = wanted[start : start + _BLOCK]
            for name, answer in zip(block, pool.each(_jobs(bundle, radiographs, cache, block)), strict=True):
                kept[keys[name]] = answer
                bar.update(bar.done + 1)
            if number % _BLOCKS_BETWEEN_WRITES == 0 or start + _BLOCK >= len(wanted):
                _write_kept(file, _identity(bundle), kept)


def _jobs(bundle: Bundle, radiographs: LabelledRadiographs, cache: PictureCache, names: tuple[str, ...]) -> list[Job]:
    folder, precision, paths = str(bundle.folder), bundle.precision, [str(radiographs.paths[name]) for name in names]
    if bundle.preparation is not None:
        return [(folder, precision, path, None) for path in paths]
    return [(folder, precision, path, pixels) for path, pixels in zip(paths, cache.gather(names), strict=True)]


def _classify(job: Job) -> Answer:
    """Judge one picture; the work of one process of the pool."""
    folder, precision, path, pixels = job
    said = _classifier(folder, precision).classify(read_grey(Path(path)) if pixels is None else pixels)
    return said.logits, said.maps


@lru_cache(maxsize=1)
def _classifier(folder: str, precision: Precision) -> Classifier:
    return Classifier.load(load_bundle(Path(folder)).served_in(precision))


def _identity(bundle: Bundle) -> str:
    """Return a hash of what an output depends on beside its picture; the calibration comes after it."""
    prepared = None if bundle.preparation is None else bundle.preparation.sha256
    facts = [
        bundle.weights_sha256,
        bundle.precision,
        bundle.preprocessing,
        bundle.input_channels,
        prepared,
        training_device().type,
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _keys(cache: PictureCache, names: tuple[str, ...]) -> list[str]:
    checksums = cache.index.records["source_crc32"][[cache.rows[name] for name in names]].tolist()
    return [f"{checksum:08x} {name}" for name, checksum in zip(names, checksums, strict=True)]


def _read_kept(file: Path, identity: str) -> Kept:
    """Return the answers of a file of the same network; none where there is no such file or it is damaged."""
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as found:
            if str(found["identity"]) != identity:
                return {}
            answers = zip(found["logits"], found["maps"], strict=True)
            return dict(zip(found["keys"].tolist(), answers, strict=True))
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return {}


def _write_kept(file: Path, identity: str, kept: Kept) -> None:
    stream = BytesIO()
    np.savez(
        stream,
        identity=np.array(identity),
        keys=np.array(list(kept), np.str_),
        logits=np.stack([logits for logits, _ in kept.values()]),
        maps=np.stack([maps for _, maps in kept.values()]),
    )
    with writing_to(file.parent):
        write_whole(stream.getvalue(), file)
