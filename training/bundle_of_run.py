"""The bundle of a training run: made from its best weights so far, found in its folder, packed into one file."""

from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path

from model.bundle import Bundle, BundleError
from model.bundle_file import DESCRIPTION_FILE
from training.conclusion import conclude
from training.data.cache_index import write_whole
from training.fitting.checkpoint import CheckpointError, load_checkpoint
from training.material import DataChoices
from training.prepare import prepare
from training.recipe import Recipe

_OLDEST = (1980, 1, 1, 0, 0, 0)  # a zip's first day: the same bundle gives the same bytes


def conclude_so_far(
    choices: DataChoices, run: Path, recipe: Recipe, init_file: Path | None, processes: int | None
) -> Path:
    """Conclude a run with the best weights of its last stage so far, finished or not; return the folder made.

    Raises
    ------
    CheckpointError
        There is no checkpoint, it is another run's, or nothing was validated yet.
    """
    prepared = prepare(choices, run, recipe, init_file, processes)
    plan = prepared.plan
    checkpoint = load_checkpoint(plan.checkpoint, plan.fingerprint)
    if checkpoint is None:
        raise CheckpointError(f"{plan.checkpoint}: no checkpoint; the run has not begun, or it is another folder's")
    if not checkpoint.get("best"):
        raise CheckpointError(f"{plan.checkpoint}: no epoch of the last stage is validated yet; let the run go on")
    return conclude(prepared, checkpoint, run)


def bundle_folder(run: Path) -> Path:
    """Return the folder of a run's one bundle, or the folder itself where it is one.

    Raises
    ------
    BundleError
        There is none, or more than one.
    """
    if (run / DESCRIPTION_FILE).is_file():
        return run
    found = sorted(path.parent for path in (run / "bundle").glob(f"*/{DESCRIPTION_FILE}"))
    if len(found) != 1:
        what = "no bundle" if not found else f"{len(found)} bundles ({', '.join(path.name for path in found)})"
        raise BundleError(f"{run}: holds {what}; name the folder of one, or let the run finish, or give --data")
    return found[0]


def pack(bundle: Bundle, path: Path) -> None:
    """Write a bundle as one ``.zip``, whole or not at all; the same bundle always gives the same bytes.

    Raises
    ------
    BundleError
        The file's name does not end in ``.zip``, or it cannot be written.
    """
    if path.suffix != ".zip":
        raise BundleError(f"{path}: a packed bundle is a .zip; give the file such a name")
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in (DESCRIPTION_FILE, *sorted(bundle.files)):
            entry = zipfile.ZipInfo(name, _OLDEST)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, (bundle.folder / name).read_bytes())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(packed.getvalue(), path)
    except OSError as error:
        raise BundleError(f"{path}: cannot be written ({error.strerror or error}); name another file") from error
