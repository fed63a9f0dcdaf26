"""What senders write around their text does not decide how the text is read."""

from __future__ import annotations

import pytest

from hl7_io.acknowledgement import Acknowledgement, read_acknowledgement
from hl7_io.reading import read_message


@pytest.mark.parametrize(
    ("character_set", "codec", "facility"),
    [
        ("BIG-5", "big5", "教育醫院"),
        ("ISO IR14", "shift_jis", "ポートピア病院"),
        ("GB 18030-2000", "gb18030", "鰘医院"),
    ],
)
def test_a_sender_whose_name_has_the_byte_of_a_separator_is_read(character_set: str, codec: str, facility: str) -> None:
    """The second byte of a letter may be 0x7C, which is ``|`` where it stands by itself."""
    assert b"|" in facility.encode(codec)
    header = f"MSH|^~\\&|HIS|{facility}|CXRAI||20260115||ADT^A08|1|P|2.5.1||||||{character_set}"
    message = read_message(f"{header}\rPID|1||4711||{facility}\r".encode(codec))
    patient = message.first("PID")
    assert patient is not None
    assert (message.header.text(4), message.header.text(10), patient.text(5)) == (facility, "1", facility)


@pytest.mark.parametrize(
    ("named", "codec"), [("UTF-8", "utf-8"), ("ISO-8859-1", "latin-1"), ("UNICODE UTF-8", "latin-1")]
)
def test_an_answer_counts_whatever_it_says_of_its_letters(named: str, codec: str) -> None:
    """Code and control id are ASCII; a message that was accepted would else be sent for ever."""
    header = f"MSH|^~\\&|RIS|KLINIK MÜNCHEN|CXRAI||20260115||ACK^R01|7|P|2.5.1||||||{named}"
    answer = f"{header}\rMSA|AE|ID-1|Gerät unbekannt\rERR|||204^Unknown key^HL70357|E\r".encode(codec)
    assert read_acknowledgement(answer, "ID-1") == Acknowledgement("AE", "204")
