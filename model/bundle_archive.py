"""Unpacking a bundle that came as one ``.zip``, without trusting any name or size in it."""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from pathlib import Path

from model.bundle_file import require_file_name

MAXIMUM_BYTES = 1_000_000_000
"""Unpacked size above which an archive is refused; a DenseNet-121 bundle has 15 MB."""
MAXIMUM_FILES = 1000


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
            if not target.is_dir():
                new.rename(target)
    except (zipfile.BadZipFile, EOFError) as error:
        raise UnsafeArchiveError(f"not a readable zip file ({error}); fetch it again") from error
    except OSError as error:
        raise UnsafeArchiveError(f"cannot be unpacked beside itself ({error.strerror}); unpack it by hand") from error
    return target


def _extract(source: zipfile.ZipFile, folder: Path) -> None:
    entries = [entry for entry in source.infolist() if not entry.is_dir()]
    if len(entries) > MAXIMUM_FILES or sum(entry.file_size for entry in entries) > MAXIMUM_BYTES:
        raise UnsafeArchiveError(
            f"more than {MAXIMUM_FILES} files or {MAXIMUM_BYTES} bytes; this is not a model bundle"
        )
    top = next((name.removesuffix("bundle.json") for name in source.namelist() if name.endswith("bundle.json")), "")
    for entry in entries:
        name = entry.filename.removeprefix(top)
        try:
            require_file_name(name)
        except ValueError as error:
            raise UnsafeArchiveError(str(error)) from error
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(source.read(entry))  # zipfile checks size and CRC-32 while reading
