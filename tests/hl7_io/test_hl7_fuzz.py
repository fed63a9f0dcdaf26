"""Whatever bytes come: read, understood and answered, or refused by name; never another exception, never slow."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import hl7
import pytest
from hl7_messages import merge, message, patient, report, update
from hypothesis import example, given, settings
from hypothesis import strategies as st
from slow_cases import mostly_slow

from hl7_io.acknowledgement import Answer, AnswerError, build_acknowledgement, read_acknowledgement
from hl7_io.inbound import RefusedMessage, understand
from hl7_io.reading import Message, UnreadableError, read_message

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
GOOD = (
    update(patient("P|1^^^HOSP&1.2.3&ISO^PI~ALIAS^^^NAT")),
    merge(patient("NEW"), "OLD^^^HOSP"),
    report(patient(), accession="A0001", uid="1.2.3"),
    report(patient(name="王^小东^^^^^L^I"), character_set="GB 18030-2000").decode().encode("gb18030"),
)
DELIMITERS = b'|^~\\&\r\n\x00\x0b\x1c"MSHPIDOBRMRGZ0123\xff'


def digest(content: bytes) -> None:
    """Do with the bytes what a listener does, and what a sender does with them as an answer."""
    read: Message | None = None
    answer = Answer("AA")
    try:
        read = read_message(content)
        understand(read)
    except UnreadableError as error:
        answer = Answer("AR", "100", str(error))
    except RefusedMessage as error:
        answer = error.answer
    acknowledgement = build_acknowledgement(answer, read, "1", NOW)
    assert acknowledgement.startswith(b"MSH|^~\\&|")
    assert acknowledgement.count(b"\rMSA|") == 1
    try:
        read_acknowledgement(content, "1")
    except AnswerError:
        return


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Return a good message with some bytes changed, cut out, doubled or put in."""
    content = bytearray(draw(st.sampled_from(GOOD)))
    for _ in range(draw(st.integers(1, 8))):
        place = draw(st.integers(0, max(0, len(content) - 1)))
        deed = draw(st.sampled_from(["change", "cut", "double", "insert"]))
        if deed == "change" and content:
            content[place] = draw(st.sampled_from(DELIMITERS))
        elif deed == "cut":
            del content[place : place + draw(st.integers(1, 30))]
        elif deed == "double":
            content[place:place] = content[place : place + draw(st.integers(1, 60))]
        else:
            content[place:place] = draw(st.binary(max_size=5))
    return bytes(content)


@pytest.mark.parametrize("examples", mostly_slow([100, 2000], 100))
def test_damaged_messages_are_read_or_refused(examples: int) -> None:
    settings(max_examples=examples, deadline=None)(given(damaged())(digest))()


@example(b"MSH")
@example(b"MSH|^~\\&")
@example(b"MSH|^~\\&|\\X0D\\|\\\\|" + b"|" * 60)
@example(b"MSH|^~\\&" + b"|x" * 40)
@example(b"MSH|^~\\&" + (b"|" + b"A^B|" * 60) * 9)
@example(update(patient(), control_id="x" * 5000))
@example(b"MSH|^~\\&|" + b"&" * 50 + b"|" + b"^" * 50 + b"|" + b"~" * 50)
def digest_with_and_without_a_header(content: bytes) -> None:
    digest(content)
    digest(b"MSH|^~\\&|" + content)


@pytest.mark.parametrize("examples", mostly_slow([100, 2000], 100))
def test_any_bytes_are_refused_or_read(examples: int) -> None:
    tried = given(st.binary(max_size=300))(digest_with_and_without_a_header)
    settings(max_examples=examples, deadline=None)(tried)()


@pytest.mark.parametrize(
    "content",
    [
        message(*(f"OBX|{n}|TX|x||text" for n in range(19_000)), kind="ORU^R01"),
        message(patient("~".join(["A^^^B"] * 100_000))),
        message(patient() + "|" * 1_000_000),
        message(patient("\\" * 60_000)),
        message(patient("&" * 60_000)),
        message(patient(), *["OBR|1||A|||||||||||||||||||||||F"] * 15_000, kind="ORU^R01"),
        message(*["X" * 60] * 100_000),
        b"\r" * 5_000_000,
        b"MSH|^~\\&|" + b"\\" * 5_000_000,
    ],
    ids=["segments", "identifiers", "fields", "escapes", "subcomponents", "reports", "too many", "line ends", "header"],
)
def test_a_hostile_message_costs_little_time(content: bytes) -> None:
    began = time.process_time()
    digest(content)
    assert time.process_time() - began < 3.0, "as long as the largest message allowed could hold a thread"


WORDS = st.text(alphabet="abcXYZ 0123äж王.-'", max_size=12)


@given(
    st.lists(st.lists(st.lists(WORDS, min_size=1, max_size=3), min_size=1, max_size=4), min_size=1, max_size=3),
    st.sampled_from(["|^~\\&", "#*+!%"]),
)
@settings(max_examples=100, deadline=None)
def test_fields_are_read_as_an_independent_library_reads_them(field: list[list[list[str]]], delimiters: str) -> None:
    bar, component, repetition, _escape, subcomponent = delimiters
    value = repetition.join(component.join(subcomponent.join(parts) for parts in components) for components in field)
    text = f"MSH{delimiters}{bar}HIS\rPID{bar}1{bar}{bar}{value}{bar}end\r"
    patient_segment = read_message(text.encode()).first("PID")
    assert patient_segment is not None
    theirs = hl7.parse(text).segment("PID")[3]
    if not value:
        return
    found = patient_segment.repetitions(3)
    assert [[[part.strip() for part in parts] for parts in components] for components in field] == found
    assert [str(one) for one in theirs] == value.split(repetition)
