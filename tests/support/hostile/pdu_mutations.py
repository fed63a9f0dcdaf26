"""Mutated DICOM messages, byte by byte and field by field, each drawn from a seed and a number (PS3.8 9.3, PS3.7 6.3).

Everything is encoded here by hand: a library would refuse to write most of it.
"""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from factories import chest_radiograph
from mutations import damaged_bytes
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

VERIFICATION, CT, DX = "1.2.840.10008.1.1", "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.1.1"
COMMITMENT, STUDY_FIND, UPS_PUSH = "1.2.840.10008.1.20.1", "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.34.6.1"
IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN, JPEG = (
    "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.4.50",
)  # fmt: skip
Context = tuple[int, str, tuple[str, ...]]
"""Context id, abstract syntax, transfer syntaxes."""
CONTEXTS: tuple[Context, ...] = (
    (1, VERIFICATION, (IMPLICIT,)), (3, DX, (EXPLICIT,)), (5, DX, (IMPLICIT,)), (7, DX, (DEFLATED,)),
    (9, DX, (BIG_ENDIAN,)), (11, DX, (JPEG,)), (13, CT, (EXPLICIT, IMPLICIT)), (15, COMMITMENT, (IMPLICIT,)),
    (17, STUDY_FIND, (IMPLICIT,)), (19, UPS_PUSH, (EXPLICIT,)), (21, "1.3.6.1.4.1.99999.1", (EXPLICIT,)),
)  # fmt: skip
"""A listener accepts some of them."""
STORAGE_CONTEXTS = (3, 5, 7, 9, 11)
DEFLATED_CONTEXT = 7
STUDIES = 40
A_RELEASE_RQ, A_ABORT = b"\5\0\0\0\0\4\0\0\0\0", b"\7\0\0\0\0\4\0\0\0\0"
_ECHO, _STORE = 0x0030, 0x0001
_COMMANDS = (
    *(_ECHO, _STORE) * 6, 0x0020, 0x0010, 0x0021, 0x0FFF, 0x0100, 0x0110, 0x0120, 0x0130, 0x0140, 0x0150, 0x8001,
    0x8030, 0x8020, 0x8100, 0x0000, 0x7FFF, 0xFFFF,
)  # fmt: skip
_NO_DATA_SET = 0x0101
_UIDS = (
    VERIFICATION, DX, CT, COMMITMENT, "1.2.840.10008.1.20.1.1", UPS_PUSH, "", "1", "1..2", "0" * 64, "1." * 40,
    "1" * 300,
    "../../../tmp/x", "1.2.3\0", "\xe4", "1.2.840.10008.5.1.4.1.1.2\\1.2",
)  # fmt: skip
_NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x101, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF)
_LENGTHS = (0, 1, 2, 5, 6, 7, 0xFF, 0xFFFF, 0x10000, 0x20000, 0x20001, 0x7FFFFFFF, 0xFFFFFFFF)

Elements = list[tuple[int, bytes]]
"""Of a command set: element of group 0000, value."""


def associate_request(draw: random.Random | None = None, proposed: Sequence[Context] = CONTEXTS) -> bytes:
    """Return an A-ASSOCIATE-RQ (PS3.8 9.3.2): a good one, or with a draw one that is wrong in some field."""
    contexts = [_context(*context) for context in proposed]
    user = [_item(0x51, struct.pack(">I", 131072)), _item(0x52, b"1.2.3.4"), _item(0x55, b"FUZZ")]
    called, version, application = b"CXRAI", 1, b"1.2.840.10008.3.1.1.1"
    if draw is not None:
        user += [item for item in _extended_items() if draw.random() < 0.4]
        for _ in range(draw.randint(1, 3)):
            wrong = draw.randrange(8)
            if wrong == 0:
                called = draw.choice((b"", b"OTHER", b"cxrai", b"\xff" * 16, b"CXRAI\0" * 3, b" CXRAI"))
            elif wrong == 1:
                version = draw.choice(_NUMBERS)
            elif wrong == 2:
                application = draw.choice(_UIDS).encode("latin-1")
            elif wrong == 3:
                contexts.append(_wrong_context(draw))
            elif wrong == 4:
                contexts *= draw.choice((0, 2, 12))
            elif wrong == 5:
                user.append(_item(draw.randrange(256), draw.randbytes(draw.choice((0, 1, 4, 200)))))
            elif wrong == 6:
                place = draw.randrange(len(user))
                user[place] = damaged_bytes(user[place], draw)
            else:
                draw.shuffle(user)
    body = struct.pack(">HH16s16s32x", version, 0, called.ljust(16), b"FUZZER".ljust(16))
    body += _item(0x10, application) + b"".join(contexts) + _item(0x50, b"".join(user))
    return _pdu(1, body)


def mutated_association(draw: random.Random) -> bytes:
    """Return what a client might send first: a request that is wrong, damaged, cut, doubled, or no request at all."""
    kind = draw.random()
    if kind < 0.45:
        return associate_request(draw)
    if kind < 0.85:
        return damaged_bytes(associate_request(draw if draw.random() < 0.5 else None), draw)
    return draw.choice(
        (
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\0\1\0\1\xfc\3\3" + draw.randbytes(200),
            draw.randbytes(draw.choice((1, 5, 6, 7, 300))), A_RELEASE_RQ, A_ABORT,
            message(1, command(_ECHO, VERIFICATION), b"", draw), b"\1\0" + struct.pack(">I", draw.choice(_LENGTHS)),
            associate_request() * 2,
        )
    )  # fmt: skip


def mutated_pdu(draw: random.Random) -> bytes:
    """Return a PDU for an open association whose head, PDV heads or order are wrong (PS3.8 9.3.5 and annex E)."""
    good = command(_STORE, DX, data_set=True)
    data = _plain_data_set(3, draw, "2.25.7")
    kind = draw.randrange(9)
    if kind == 0:
        return damaged_bytes(message(3, good, data, draw), draw)
    if kind == 1:
        return bytes([draw.randrange(256), 0]) + struct.pack(">I", draw.choice(_LENGTHS)) + draw.randbytes(20)
    if kind == 2:
        return _pdu(4, struct.pack(">I", draw.choice(_LENGTHS)) + bytes([3, draw.randrange(256)]) + good)
    if kind == 3:
        return b"".join(
            _fragment(draw.choice((0, 1, 2, 3, 5, 255)), draw.randrange(256), draw.randbytes(draw.choice((0, 1, 40))))
            for _ in range(draw.randint(1, 6))
        )
    if kind == 4:  # the data set before its command, or twice
        return _fragment(3, 2, data) * draw.randint(1, 3) + _fragment(3, 3, good)
    if kind == 5:  # two PDVs in one PDU, of two contexts
        first, second = _value(3, 3, good), _value(draw.choice((1, 3, 5)), 2, data)
        return _pdu(4, first + second)
    if kind == 6:
        return draw.choice((associate_request(), A_RELEASE_RQ * 2, b"\2\0\0\0\0\0", b"\6\0\0\0\0\4\0\0\0\0"))
    if kind == 7:  # empty fragments without end
        return _fragment(3, 3, good) + _fragment(3, 0, b"") * 50 + _fragment(3, 2, data)
    return _fragment(3, 1, b"") * 20 + message(3, good, data, draw)


def mutated_command(draw: random.Random) -> bytes:
    """Return a whole message whose command set is wrong (PS3.7 6.3 and annex E)."""
    context, abstract, _ = draw.choice(CONTEXTS)
    field = draw.choice(_COMMANDS)
    data = field == _STORE
    elements = _elements(field, abstract if draw.random() < 0.8 else draw.choice(_UIDS), data_set=data)
    for _ in range(draw.randint(1, 3)):
        elements = draw.choice(_COMMAND_KINDS)(elements, draw)
    encoded = encoded_command(elements)
    if draw.random() < 0.2:
        encoded = damaged_bytes(encoded, draw)
    follows = data if draw.random() < 0.9 else not data
    return message(context, encoded, _plain_data_set(3, draw, "2.25.7") if follows else b"", draw)


def mutated_store(draw: random.Random) -> bytes:
    """Return a C-STORE request whose command is good and whose data set is damaged, or odd and yet to be taken."""
    context = draw.choice(STORAGE_CONTEXTS)
    uid = f"2.25.{draw.getrandbits(96)}"
    data = _plain_data_set(context, draw, uid)
    for _ in range(draw.randint(0, 2)):
        data = draw.choice(_DATA_KINDS)(data, draw)
    data = _deflated(data) if context == DEFLATED_CONTEXT else data
    if draw.random() < 0.45:
        data = damaged_bytes(data, draw)
    return message(context, command(_STORE, DX, uid, data_set=True), data, draw)


def good_store(draw: random.Random) -> bytes:
    """Return a C-STORE request that must be taken."""
    uid = f"2.25.{draw.getrandbits(96)}"
    return message(3, command(_STORE, DX, uid, data_set=True), _plain_data_set(3, draw, uid), draw)


def echo(message_id: int) -> bytes:
    """Return a good C-ECHO-RQ."""
    return _fragment(1, 3, command(_ECHO, VERIFICATION, message_id=message_id))


def command(field: int, sop_class: str, uid: str = "2.25.7", message_id: int = 7, *, data_set: bool = False) -> bytes:
    """Return a good command set, Implicit VR Little Endian with its group length."""
    return encoded_command(_elements(field, sop_class, uid, message_id, data_set=data_set))


def message(context: int, command_set: bytes, data: bytes, draw: random.Random) -> bytes:
    """Return P-DATA-TF PDUs for a command and, unless empty, a data set, cut into fragments at random."""
    return _cut_up(context, 1, command_set, draw) + (_cut_up(context, 0, data, draw) if data else b"")


def _cut_up(context: int, is_command: int, content: bytes, draw: random.Random) -> bytes:
    longest = draw.choice((131066, 131066, 16378, 1000, 100))
    pieces = [content[start : start + longest] for start in range(0, len(content), longest)] or [b""]
    controls = [is_command] * (len(pieces) - 1) + [is_command | 2]
    if draw.random() < 0.2:  # several in one PDU
        return _pdu(4, b"".join(map(_value, [context] * len(pieces), controls, pieces))[: 131072 * 2])
    return b"".join(map(_fragment, [context] * len(pieces), controls, pieces))


def _value(context: int, control: int, content: bytes) -> bytes:
    return struct.pack(">IBB", len(content) + 2, context, control) + content


def _fragment(context: int, control: int, content: bytes) -> bytes:
    return _pdu(4, _value(context, control, content))


def _pdu(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxI", kind, len(body)) + body


def _item(kind: int, content: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(content) & 0xFFFF) + content


def _context(number: int, abstract: str, syntaxes: Sequence[str]) -> bytes:
    items = _item(0x30, abstract.encode("latin-1")) + b"".join(_item(0x40, one.encode("latin-1")) for one in syntaxes)
    return _item(0x20, bytes([number, 0, 0, 0]) + items)


def _wrong_context(draw: random.Random) -> bytes:
    syntaxes = [draw.choice((*_UIDS, EXPLICIT)) for _ in range(draw.choice((0, 1, 2, 60)))]
    return _context(draw.choice((0, 2, 3, 254, 255)), draw.choice(_UIDS), syntaxes)


def _extended_items() -> list[bytes]:
    """Return asynchronous operations, roles, extended and common extended negotiation, user identity (PS3.7 D.3.3)."""
    uid = struct.pack(">H", len(DX)) + DX.encode()
    common = uid + struct.pack(">H", len(VERIFICATION)) + VERIFICATION.encode() + struct.pack(">H", 0)
    return [
        _item(0x53, struct.pack(">HH", 9, 0)), _item(0x54, uid + b"\1\1"), _item(0x56, uid + b"\2\1\0\1"),
        _item(0x57, common), _item(0x58, b"\2\1" + struct.pack(">H4sH4s", 4, b"user", 4, b"word")),
    ]  # fmt: skip


def _elements(field: int, sop_class: str, uid: str = "2.25.7", message_id: int = 7, *, data_set: bool) -> Elements:
    about = (0x0110 <= field <= 0x0150 and field != 0x0140 and 3) or 2  # N-GET, N-SET, N-ACTION: Requested SOP Class
    found: Elements = [
        (about, sop_class.encode("latin-1")), (0x0100, struct.pack("<H", field)),
        (0x0120 if field & 0x8000 else 0x0110, struct.pack("<H", message_id)),
        (0x0800, struct.pack("<H", 0 if data_set else _NO_DATA_SET)),
    ]  # fmt: skip
    if field & 0xFF == _STORE:
        found += [(0x0700, b"\0\0"), (0x1000, uid.encode())]
    if field & 0x8000:
        found.append((0x0900, b"\0\0"))
    if 0x0100 <= field <= 0x0150:
        found += [(0x1001 if about == 3 else 0x1000, uid.encode()), (0x1002, b"\1\0"), (0x1008, b"\1\0")]
    return sorted(found)


def encoded_command(elements: Elements) -> bytes:
    """Return a command set of these elements, good or not, with its group length."""
    body = b"".join(struct.pack("<HHI", 0, tag, len(value)) + value for tag, value in _even(elements))
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def _even(elements: Elements) -> Elements:
    return [(tag, value + b"\0" * (len(value) % 2)) for tag, value in elements]


def _without_one(elements: Elements, draw: random.Random) -> Elements:
    left = draw.randrange(max(1, len(elements)))
    return elements[:left] + elements[left + 1 :]


def _one_twice(elements: Elements, draw: random.Random) -> Elements:
    return elements + [draw.choice(elements)] * draw.choice((1, 3)) if elements else elements


def _value_replaced(elements: Elements, draw: random.Random) -> Elements:
    if not elements:
        return elements
    place = draw.randrange(len(elements))
    value = draw.choice(
        (
            struct.pack("<H", draw.choice(_NUMBERS)), draw.choice(_UIDS).encode("latin-1"), b"",
            draw.randbytes(draw.choice((1, 2, 4, 8, 64))), struct.pack("<I", draw.choice(_LENGTHS)),
        )
    )  # fmt: skip
    return [*elements[:place], (elements[place][0], value), *elements[place + 1 :]]


def _one_more(elements: Elements, draw: random.Random) -> Elements:
    tag = draw.choice((0x0000, 0x0003, 0x0600, 0x0700, 0x0900, 0x0902, 0x1000, 0x1001, 0x1002, 0x1008, 0x1030, 0xFFFF))
    return [*elements, (tag, draw.randbytes(draw.choice((0, 2, 4, 16, 2000))))]


def _disordered(elements: Elements, draw: random.Random) -> Elements:
    return draw.sample(elements, len(elements))


_COMMAND_KINDS: tuple[Callable[[Elements, random.Random], Elements], ...] = (
    _without_one, _one_twice, _value_replaced, _value_replaced, _one_more, _disordered,
)  # fmt: skip


def _plain_data_set(context: int, draw: random.Random, uid: str) -> bytes:
    """Return a small radiograph of one of some studies, encoded for the context but not deflated."""
    study = f"2.25.99{draw.randrange(STUDIES):04}"
    named = _template(context).replace(_UID_PLACE, uid.encode().ljust(64, b"\0"))
    return named.replace(_STUDY_PLACE, study.encode().ljust(64, b"\0"))


def _deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = packer.compress(data) + packer.flush()
    return packed + b"\0" * (len(packed) % 2)


@cache
def _template(context: int) -> bytes:
    """Return a radiograph whose UIDs are place holders, so that encoding is done once."""
    (syntax,) = next(syntaxes for number, _, syntaxes in CONTEXTS if number == context)
    image = chest_radiograph(np.arange(256, dtype=np.uint16).reshape(16, 16), TransferSyntaxUID=syntax)
    if syntax == JPEG:
        image.PixelData = encapsulate([b"\xff\xd8\xff\xdb" + bytes(300) + b"\xff\xd9"])
        image["PixelData"].is_undefined_length = True
    image.SOPInstanceUID, image.StudyInstanceUID = _UID_PLACE[:-1].decode(), _STUDY_PLACE[:-1].decode()
    stream = DicomBytesIO()
    stream.is_implicit_VR, stream.is_little_endian = syntax == IMPLICIT, syntax != BIG_ENDIAN
    write_dataset(stream, image)
    return stream.getvalue()


_UID_PLACE, _STUDY_PLACE = b"1.1" * 21 + b"\0", b"1.2" * 21 + b"\0"


def _put_in(data: bytes, element: bytes, draw: random.Random) -> bytes:
    """Put an encoded element before the patient's name, at the start or at the end."""
    place = draw.choice((0, len(data), max(0, data.find(b"\x10\0\x10\0"))))
    return data[:place] + element + data[place:]


def _text_put_in(data: bytes, draw: random.Random) -> bytes:
    tag = draw.choice(
        (0x00080005, 0x00080020, 0x00080050, 0x00081030, 0x00100010, 0x00100020, 0x00100030, 0x00101010, 0x0020000D,
         0x00280010, 0x00180015, 0x00185101, 0x00280301, 0x00281050, 0x0040A043)
    )  # fmt: skip
    value = draw.choice(
        (b"", b"\0" * 8, b"\xff\xfe\xed\xa0\x80", b"\x1b$B\x1b(B" * 5, b"A\\B" * 400, b"x" * 65530,
         "\u202e\u0000\U0001f4a9".encode(), draw.randbytes(30), b"9" * 200, b"-1e999", b"ISO 2022 IR 87\\\\x")
    )  # fmt: skip
    vr = draw.choice((b"LO", b"PN", b"CS", b"UI", b"DA", b"DS", b"IS", b"AT", b"ZZ", b"\0\0"))
    value += b" " * (len(value) % 2)
    return _put_in(data, struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value, draw)


def _nest_put_in(data: bytes, draw: random.Random) -> bytes:
    """Put in sequences within sequences, or one that never ends."""
    depth = draw.choice((1, 30, 1000, 5000))
    begin = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + b"\xfe\xff\0\xe0\xff\xff\xff\xff"
    end = b"\xfe\xff\r\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    return _put_in(data, begin * depth + end * draw.choice((depth, depth, depth - 1, 0)), draw)


def _length_put_in(data: bytes, draw: random.Random) -> bytes:
    """Put in an element that says it is longer, or shorter, than it is."""
    vr = draw.choice((b"OB", b"OW", b"UN", b"UT", b"SQ"))
    head = struct.pack("<HH2sHI", draw.choice((0x0008, 0x0029, 0x7FE0)), 0x0010, vr, 0, draw.choice(_LENGTHS))
    return _put_in(data, head + draw.randbytes(6), draw)


def _groups_put_in(data: bytes, draw: random.Random) -> bytes:
    """Put in many tiny private elements."""
    count = draw.choice((10, 3000))
    return _put_in(
        data, b"".join(struct.pack("<HH2sH", 0x0029, n & 0xFFFF, b"LO", 0) for n in range(0x1000, 0x1000 + count)), draw
    )


_DATA_KINDS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _text_put_in, _text_put_in, _text_put_in, _nest_put_in, _length_put_in, _groups_put_in,
)  # fmt: skip
