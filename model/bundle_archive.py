"""Unpacking a bundle that came as one ``.zip``, without trusting any name or size in it."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import zipfile
import zlib
from pathlib import Path

from model.bundle_file import DESCRIPTION_FILE, require_file_name

MAXIMUM_BYTES = 1_000_000_000
"""Unpacked size above which an archive is refused; a DenseNet-121 bundle has 15 to 30 MB."""
MAXIMUM_FILES = 1000

# What zipfile raises on damaged, encrypted (RuntimeError) or unknown (NotImplementedError) entries.
_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)


class UnsafeArchiveError(Exception):
    """The ``.zip`` is not a bundle, or names or sizes in it are refused; the message says which."""


def unpack(archive: Path) -> Path:
    """Unpack an archive once into a folder beside it and return that folder.

    The folder's name holds the archive's hash, so a replaced archive is unpacked afresh; ``load_bundle`` then verifies
    the files as it does for any folder. All files may lie in one common folder inside the archive.

    Raises
    ------
    UnsafeArchiveError
        It is no zip file, a name leaves the bundle, it is too large, or the folder beside it cannot be written.
    """
    with archive.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    target = archive.with_name(f".{archive.stem}-{digest[:16]}")
    if target.is_dir():
        return target
    try:
        with (
            zipfile.ZipFile(archive) as source,
            tempfile.TemporaryDirectory(dir=archive.parent, prefix=f"{target.name}-") as temporary,
        ):
            new = Path(temporary) / "new"
            _extract(source, new)
            _put_in_place(new, target)
    except _UNREADABLE as error:
        raise UnsafeArchiveError(f"not a readable zip file ({error}); fetch it again") from error
    except OSError as error:
        raise UnsafeArchiveError(f"cannot be unpacked beside itself ({error.strerror}); unpack it by hand") from error
    return target


def _put_in_place(new: Path, target: Path) -> None:
    """Rename in one step; another process that unpacked the same archive meanwhile has made the same folder."""
    try:
        new.rename(target)
    except OSError:
        if not target.is_dir():
            raise


def _extract(source: zipfile.ZipFile, folder: Path) -> None:
    entries = [entry for entry in source.infolist() if not entry.is_dir() and not _of_a_desktop(entry.filename)]
    if len(entries) > MAXIMUM_FILES or sum(entry.file_size for entry in entries) > MAXIMUM_BYTES:
        raise UnsafeArchiveError(
            f"more than {MAXIMUM_FILES} files or {MAXIMUM_BYTES} bytes; this is not a model bundle"
        )
    top = _common_folder([entry.filename for entry in entries])
    for entry in entries:
        name = entry.filename.removeprefix(top)
        try:
            require_file_name(name)
        except ValueError as error:
            raise UnsafeArchiveError(str(error)) from error
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with source.open(entry) as packed, (folder / name).open("wb") as unpacked:
            shutil.copyfileobj(packed, unpacked)  # zipfile checks size and CRC-32 while reading
            unpacked.flush()
            os.fsync(unpacked.fileno())


def _of_a_desktop(name: str) -> bool:
    """Return whether a desktop's file manager put this beside the files it packed."""
    return name.startswith("__MACOSX/") or name.rpartition("/")[2] in (".DS_Store", "Thumbs.db", "desktop.ini")


def _common_folder(names: list[str]) -> str:
    """Return the folder of the description nearest the top, with its slash; empty where there is none."""
    folders = [name.removesuffix(DESCRIPTION_FILE) for name in names if name.rpartition("/")[2] == DESCRIPTION_FILE]
    return min(folders, key=len, default="")
