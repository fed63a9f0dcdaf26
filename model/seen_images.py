"""Which pictures and patients a network has seen, as truncated hashes in a small file of the bundle.

A bundle that names them can refuse to be tested on them. 86,524 pictures and 28,008 patients of ChestX-ray14 take about
0.37 MB: 40 bits of SHA-256 each, sorted, stored as differences and compressed. With so many entries a picture that was
never seen is taken for a seen one with a chance of one in ten million.

A hash hides nobody whose number can be guessed: who knows how a hospital numbers its patients can ask the file whether
a number is in it. A bundle trained on a hospital's own studies is therefore as confidential as its list of patients.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

SEEN_FILE = "seen_images.bin"

Kind = Literal["film", "drawing"]
"""Real radiographs, or phantoms, which are numbered like the NIH's films."""
Digests = NDArray[np.uint64]
"""uint64 [N], rising, each below 2**40."""

_DIGEST_BYTES = 5
_FORMAT = 1
_LARGEST = 50_000_000
"""Entries above which a file is refused; the largest public set has under 400,000."""
_PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm")
_SECTIONS = ("training", "validation", "patients")


class SeenImagesError(ValueError):
    """The file does not hold what it must; the message says what is wrong."""


@dataclass(frozen=True, eq=False)
class SeenImages:
    """Digests of everything a network was trained or selected on."""

    training: Digests
    """Pictures whose labels shaped the weights."""
    validation: Digests
    """Pictures that picked the epoch, the calibration and the operating points."""
    patients: Digests
    """Patients of both."""

    @classmethod
    def of(cls, kind: Kind, training: Iterable[str], validation: Iterable[str], patients: Iterable[str]) -> SeenImages:
        """Make the digests from the names of pictures and the numbers of patients."""
        return cls(
            np.unique(digests(f"{kind} picture", map(_bare, training))),
            np.unique(digests(f"{kind} picture", map(_bare, validation))),
            np.unique(digests(f"{kind} patient", patients)),
        )

    def also_selected_on(self, kind: Kind, names: Iterable[str], patients: Iterable[str]) -> SeenImages:
        """Return the same with more pictures and patients that a calibration or a threshold rests on."""
        return SeenImages(
            self.training,
            np.union1d(self.validation, digests(f"{kind} picture", map(_bare, names))),
            np.union1d(self.patients, digests(f"{kind} patient", patients)),
        )

    def trained_on(self, kind: Kind, names: Iterable[str]) -> NDArray[np.bool_]:
        """Return for each picture whether its label shaped the weights."""
        return np.isin(digests(f"{kind} picture", map(_bare, names)), self.training)

    def selected_on(self, kind: Kind, names: Iterable[str]) -> NDArray[np.bool_]:
        """Return for each picture whether it was in the validation part."""
        return np.isin(digests(f"{kind} picture", map(_bare, names)), self.validation)

    def knows_patients(self, kind: Kind, patients: Iterable[str]) -> NDArray[np.bool_]:
        """Return for each patient whether another or the same picture of theirs was seen."""
        return np.isin(digests(f"{kind} patient", patients), self.patients)

    def to_bytes(self) -> bytes:
        """Return the content of ``seen_images.bin``: one line of JSON with the counts, then compressed differences."""
        sections = {name: getattr(self, name) for name in _SECTIONS}
        head = {"format": _FORMAT, "digest_bits": 8 * _DIGEST_BYTES} | {n: len(d) for n, d in sections.items()}
        packed = zlib.compress(b"".join(map(_pack, sections.values())), 9)
        return json.dumps(head).encode() + b"\n" + packed

    @classmethod
    def from_bytes(cls, content: bytes) -> SeenImages:
        """Read what ``to_bytes`` wrote.

        Raises
        ------
        SeenImagesError
            The content is cut short, of another format, or not what its first line says.
        """
        line, _, packed = content.partition(b"\n")
        counts = _counts(line)
        wanted = _DIGEST_BYTES * sum(counts)
        unpacker = zlib.decompressobj()
        try:
            planes = unpacker.decompress(packed, max_length=wanted + 1)
        except zlib.error as error:
            raise SeenImagesError(f"{SEEN_FILE} is damaged ({error}); fetch the bundle again") from error
        if len(planes) != wanted or not unpacker.eof:
            raise SeenImagesError(f"{SEEN_FILE} does not hold the entries it names; fetch the bundle again")
        ends = np.cumsum([0, *counts]) * _DIGEST_BYTES
        return cls(*(_unpack(planes[start:end]) for start, end in pairwise(ends.tolist())))


def digests(kind: str, texts: Iterable[str]) -> Digests:
    """Return the first 40 bits of the SHA-256 of ``kind: text`` for each text, in the given order."""
    found = (hashlib.sha256(f"{kind}: {text}".encode()).digest()[:_DIGEST_BYTES] for text in texts)
    return np.fromiter((int.from_bytes(digest) for digest in found), np.uint64)


def _bare(name: str) -> str:
    """Return the name without a picture's suffix: a film stays the same film as PNG and as JPEG."""
    lower = name.lower()
    suffix = next((suffix for suffix in _PICTURE_SUFFIXES if lower.endswith(suffix)), "")
    return name[: len(name) - len(suffix)]


def _counts(line: bytes) -> list[int]:
    try:
        head = json.loads(line)
        counts = [int(head[name]) for name in _SECTIONS]
    except (ValueError, KeyError, TypeError) as error:
        raise SeenImagesError(f"{SEEN_FILE} does not begin with its counts; fetch the bundle again") from error
    if (head.get("format"), head.get("digest_bits")) != (_FORMAT, 8 * _DIGEST_BYTES):
        raise SeenImagesError(f"{SEEN_FILE} is of another format; use a program and a bundle of the same release")
    if min(counts) < 0 or sum(counts) > _LARGEST:
        raise SeenImagesError(f"{SEEN_FILE} names {sum(counts)} entries, which no data set has")
    return counts


def _pack(sorted_digests: Digests) -> bytes:
    """Return the differences as byte planes, highest byte first: nearly empty planes compress to nothing."""
    differences = np.diff(sorted_digests, prepend=np.uint64(0)).astype(">u8")
    return differences.view(np.uint8).reshape(-1, 8)[:, 8 - _DIGEST_BYTES :].T.tobytes()


def _unpack(planes: bytes) -> Digests:
    lower = np.frombuffer(planes, np.uint8).reshape(_DIGEST_BYTES, -1).T
    differences = np.zeros((len(lower), 8), np.uint8)
    differences[:, 8 - _DIGEST_BYTES :] = lower
    return np.cumsum(differences.view(">u8").reshape(-1), dtype=np.uint64)
