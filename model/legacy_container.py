"""Whole networks in ``torch.save``'s container before version 1.6, made readable for torch's restricted unpickler.

Such a file is four pickles (a magic number, a version, sizes of types, the object) and the tensors' raw bytes. When the
object holds layers, its pickle also keeps each layer class's source text, as a persistent id
``("module", class, file, source)``, which ``torch.load(weights_only=True)`` refuses although it needs only the class.
Here these records are replaced by the class's bare name, byte by byte: nothing is ever unpickled in this file.
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass
from io import BytesIO

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C  # torch.serialization.MAGIC_NUMBER
_PUT = ("BINPUT", "LONG_BINPUT")
_GET = ("BINGET", "LONG_BINGET")
_STRING = ("BINUNICODE", "SHORT_BINSTRING", "BINSTRING")


@dataclass(frozen=True)
class _Operation:
    """One instruction of a pickle."""

    name: str
    argument: object
    code: bytes


def without_class_records(content: bytes) -> bytes:
    """Return the file's bytes with every record of a class replaced by the class's name; other files as they are.

    Raises
    ------
    ValueError
        The bytes do not hold the pickles of such a container.
    """
    stream = BytesIO(content)
    first = _operations(stream, content)
    if [operation.argument for operation in first[1:2]] != [_MAGIC_NUMBER]:
        return content
    for _ in ("version", "sizes of types"):
        _operations(stream, content)
    start = stream.tell()
    network = _operations(stream, content)
    return content[:start] + _rewritten(network) + content[stream.tell() :]


def _operations(stream: BytesIO, content: bytes) -> list[_Operation]:
    """Return the instructions of the pickle that begins here, and leave the stream behind it."""
    found = [(opcode.name, argument, position or 0) for opcode, argument, position in pickletools.genops(stream)]
    ends = [position for _, _, position in found[1:]] + [stream.tell()]
    return [_Operation(name, argument, content[at:end]) for (name, argument, at), end in zip(found, ends, strict=True)]


def _rewritten(operations: list[_Operation]) -> bytes:
    """Return the pickle without class records.

    What a record puts into the pickle's memo may be used later, so its parts are moved to the very beginning, where
    they stay unused at the bottom of the stack; in their place the class is taken from the memo.
    """
    moved: list[bytes] = []
    kept: list[_Operation] = []
    strings: dict[object, object] = {}
    for operation in operations:
        if operation.name in _PUT and kept and kept[-1].name in _STRING:
            strings[operation.argument] = kept[-1].argument
        record = _record_at_end(kept, strings) if operation.name == "BINPERSID" else None
        if record is None:
            kept.append(operation)
            continue
        moved += [b"N" if part.name in _STRING and part.argument != "module" else part.code for part in record]
        del kept[-_length(kept) :]
        kept.append(_class_of(record))
    return kept[0].code + b"".join(moved) + b"".join(operation.code for operation in kept[1:])


def _length(kept: list[_Operation]) -> int:
    """Return how many instructions make the tuple at the end, from its MARK on."""
    for number, operation in enumerate(reversed(kept), start=1):
        if operation.name == "MARK":
            return number
    raise ValueError("a tuple of the pickle has no beginning")


def _record_at_end(kept: list[_Operation], strings: dict[object, object]) -> list[_Operation] | None:
    """Return what lies between MARK and TUPLE when the tuple at the end is the record of a class."""
    end = len(kept) - (1 if kept and kept[-1].name in _PUT else 0)
    if end == 0 or kept[end - 1].name != "TUPLE":
        return None
    record = kept[len(kept) - _length(kept) + 1 : end - 1]
    if not record:
        return None
    kind = strings.get(record[0].argument) if record[0].name in _GET else record[0].argument
    items = [operation for operation in record if operation.name not in _PUT]
    return record if kind == "module" and len(items) == 4 and items[1].name == "GLOBAL" else None


def _class_of(record: list[_Operation]) -> _Operation:
    """Return the instruction that takes the record's class from the memo."""
    place = next(number for number, operation in enumerate(record) if operation.name == "GLOBAL")
    if place + 1 == len(record) or record[place + 1].name not in _PUT:
        raise ValueError("a class of the pickle is not in its memo")
    put = record[place + 1]
    name, code = ("BINGET", b"h") if put.name == "BINPUT" else ("LONG_BINGET", b"j")
    return _Operation(name, put.argument, code + put.code[1:])
