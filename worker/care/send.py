"""``python -m worker send``: DICOM files to a peer, one association per study, as a modality sends them."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import typer
from pydantic import TypeAdapter, ValidationError
from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset, read_preamble
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dicom_io.data_sets.file_meta import HEAD_BYTES, encode_file_meta, is_dicom_file
from dicom_io.data_sets.header import PARSE_ERRORS, text
from dicom_io.data_sets.stamp import fresh_uid, stamp_copy
from dicom_io.foundation.peer import Peer
from dicom_io.services.storage_scu import SendOutcome, send
from worker.foundation.errors import WorkerError
from worker.settings.peers import AeTitle, required_host
from worker.views.rendering import escape

_FILE_META_GROUP = 2
Studies = dict[str, list[Path]]
Originals = dict[Path, Path]
"""Which file of the user's each copy was made of."""


class NothingToSend(WorkerError):
    """No DICOM file was found."""

    def __init__(self, paths: Sequence[Path]) -> None:
        super().__init__(f"no DICOM file in {', '.join(str(path) for path in paths)}; nothing was sent")


class MissingPath(WorkerError):
    """A named file or folder does not exist."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} does not exist; nothing was sent")


def parse_address(text: str, ae_title: str) -> Peer:
    """Return the peer at ``HOST:PORT`` or ``[IPV6]:PORT``.

    Raises
    ------
    typer.BadParameter
        It is no such address, or the AE title is none.
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise typer.BadParameter(f"{text} is not HOST:PORT, such as 127.0.0.1:11112")
    require_ae_title(ae_title, "--called")
    try:
        required_host(host)
    except ValueError as error:
        raise typer.BadParameter(f"{host}: {error}") from None
    return Peer(ae_title, host, int(port))


def require_ae_title(text: str, option: str) -> None:
    """Let pass what may be an AE title (PS3.5 6.2, AE), given with an option.

    Raises
    ------
    typer.BadParameter
        It is none.
    """
    try:
        TypeAdapter[str](AeTitle).validate_python(text)
    except ValidationError:
        raise typer.BadParameter(
            f"AE title {text!r} must be 1 to 16 letters, digits and signs of ASCII without a backslash",
            param_hint=f"'{option}'",
        ) from None


def find_dicom_files(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the named files and, below named folders, every DICOM Part 10 file, in order of their names.

    Raises
    ------
    MissingPath
        A named path does not exist.
    """
    for path in paths:
        if path.is_dir():
            yield from (file for file in sorted(path.rglob("*")) if file.is_file() and is_dicom(file))
        elif path.is_file():
            yield path
        else:
            raise MissingPath(path)


def is_dicom(path: Path) -> bool:
    """Return whether the file begins as a DICOM Part 10 file (PS3.10 7.1)."""
    with path.open("rb") as file:
        return is_dicom_file(file.read(HEAD_BYTES))


def by_study(files: Iterable[Path]) -> Studies:
    """Group files by Study Instance UID; unreadable ones stand together under an empty UID."""
    studies: Studies = {}
    for file in files:
        try:
            header = dcmread(file, stop_before_pixels=True, specific_tags=["StudyInstanceUID"])
            uid = str(header.get("StudyInstanceUID", ""))
        except (*PARSE_ERRORS, InvalidDicomError):
            uid = ""
        studies.setdefault(uid, []).append(file)
    return studies


def stamped(studies: Studies, folder: Path) -> tuple[Studies, Originals, list[SendOutcome]]:
    """Write copies with new UIDs and the present date and time into ``folder``; one new study per old study.

    Files whose study cannot be read become a study each.

    Returns
    -------
    tuple
        The copies, what each was made of, and the files that none can be made of: they are not sent under their old
        UIDs.
    """
    now, copies, left = datetime.now(), Studies(), list[SendOutcome]()  # DICOM times are local times
    originals = Originals()
    unknown = [[file] for file in studies.get("", ())]
    for files in [*unknown, *(files for uid, files in studies.items() if uid)]:
        study_instance_uid = fresh_uid()
        for number, file in enumerate(files):
            copy = folder / f"{study_instance_uid}-{number}.dcm"
            try:
                stamp_copy(file, copy, study_datetime=now, study_instance_uid=study_instance_uid)
            except (*PARSE_ERRORS, InvalidDicomError) as error:
                left.append(_not_copied(file, error))
                continue
            copies.setdefault(study_instance_uid, []).append(copy)
            originals[copy] = file
    return copies, originals, left


def _not_copied(file: Path, error: Exception) -> SendOutcome:
    """Return the outcome of a damaged file, without pydicom's words, which may quote what it choked on."""
    cause = error.strerror if isinstance(error, OSError) else f"it is damaged or no DICOM file, {type(error).__name__}"
    why = f"no copy with new UIDs can be made of it ({cause})"
    return SendOutcome(file, None, why, False, permanent=True, comment_is_ours=True, withheld=True)


def announced(studies: Studies, folder: Path) -> tuple[Studies, Originals]:
    """Return the same studies; of files whose file meta names another object than their data set, copies in ``folder``.

    What each file to send was made of, itself included, comes with them.

    What is announced comes from the file meta, and receivers refuse an object that is another one (PS3.4 B.2.3).
    """
    sent, originals = Studies(), Originals()
    for place, (uid, files) in enumerate(studies.items()):
        for number, file in enumerate(files):
            copy = _announced(file, folder / f"{place}-{number}")
            sent.setdefault(uid, []).append(copy)
            originals[copy] = file
    return sent, originals


def _announced(file: Path, folder: Path) -> Path:
    try:
        header = dcmread(file, stop_before_pixels=True, specific_tags=["SOPClassUID", "SOPInstanceUID"])
        meta = header.file_meta
        known = (str(meta.get("MediaStorageSOPClassUID", "")), str(meta.get("MediaStorageSOPInstanceUID", "")))
        named = (text(header, "SOPClassUID"), text(header, "SOPInstanceUID"))
        if not all(named) or named == known:
            return file
        head = encode_file_meta(*named, str(meta.TransferSyntaxUID))
        with file.open("rb") as content:
            read_preamble(content, force=False)
            read_dataset(content, False, True, stop_when=lambda tag, vr, length: tag.group != _FILE_META_GROUP)
            encoded = content.read()
    except (*PARSE_ERRORS, InvalidDicomError):
        return file  # sending it says what it lacks
    copy = folder / file.name
    folder.mkdir()
    copy.write_bytes(head + encoded)
    return copy


@contextmanager
def prepared(paths: Sequence[Path], *, fresh: bool) -> Iterator[tuple[Studies, Originals, list[SendOutcome]]]:
    """Give the studies to send, what each file was made of, and what cannot be sent; copies last as long as the block.

    Raises
    ------
    MissingPath, NothingToSend
    """
    studies = by_study(find_dicom_files(paths))
    if not studies:
        raise NothingToSend(paths)
    with tempfile.TemporaryDirectory(prefix="cxr-send-") as folder:
        yield stamped(studies, Path(folder)) if fresh else (*announced(studies, Path(folder)), [])


def send_files(paths: Sequence[Path], peer: Peer, calling_ae_title: str, *, fresh: bool, json_output: bool) -> bool:
    """Send everything, show progress, report what was not accepted; return whether all of it was.

    Raises
    ------
    MissingPath, NothingToSend
        Nothing was sent.
    """
    errors = Console(stderr=True)
    with prepared(paths, fresh=fresh) as (studies, originals, left):
        outcomes = {"": left} if left else {}
        with _progress(errors) as progress:
            task = progress.add_task("sending", total=sum(len(files) for files in studies.values()))
            for uid, files in studies.items():
                sent = send(peer, files, calling_ae_title)
                outcomes[uid] = outcomes.get(uid, []) + [replace(item, path=originals[item.path]) for item in sent]
                progress.advance(task, len(files))
    refused = [item for items in outcomes.values() for item in items if not item.accepted]
    total = sum(len(items) for items in outcomes.values())
    if json_output:
        _print_json(outcomes)
    else:
        for item in refused:
            errors.print(f"[red]not accepted[/red] {escape(_describe(item))}", highlight=False, soft_wrap=True)
        place = f"{peer.ae_title} at {peer.host}:{peer.port}"
        text = f"{total - len(refused)} of {total} objects in {len(studies)} studies accepted by {place}"
        Console().print(escape(text), highlight=False, soft_wrap=True)
    return not refused


def _describe(outcome: SendOutcome) -> str:
    status = "" if outcome.status is None else f"0x{outcome.status:04X} "
    return f"{outcome.path}: {status}{outcome.comment}".rstrip(": ")


def _print_json(outcomes: dict[str, list[SendOutcome]]) -> None:
    described = [
        {
            "study_instance_uid": uid,
            "path": str(item.path),
            "accepted": item.accepted,
            "status": item.status,
            "comment": item.comment,
        }
        for uid, items in outcomes.items()
        for item in items
    ]
    json.dump(described, sys.stdout, indent=2)
    sys.stdout.write("\n")


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True)
