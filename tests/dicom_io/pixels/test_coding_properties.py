"""Whatever the samples are, every lossless coding gives them back, and nothing but named errors leaves the decoder."""

from __future__ import annotations

from collections.abc import Callable

import imagecodecs
import numpy as np
import pytest
from factories import chest_radiograph
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from dicom_io.foundation.reasons import ReasonCode, UndecodableError
from dicom_io.pixels.decoding import decode_frame
from dicom_io.pixels.fidelity import Decoding
from dicom_io.pixels.radiograph import read_radiograph

FAMILY = "1.2.840.10008.1.2.4."
Encoder = Callable[[np.ndarray, int], bytes]
ENCODERS: dict[str, Encoder] = {
    "57": lambda codes, bits: imagecodecs.ljpeg_encode(codes, bitspersample=bits),
    "70": lambda codes, bits: imagecodecs.ljpeg_encode(codes, bitspersample=bits),
    "80": lambda codes, bits: imagecodecs.jpegls_encode(codes),
    "90": lambda codes, bits: imagecodecs.jpeg2k_encode(
        codes, level=0, reversible=True, codecformat="j2k", bitspersample=bits
    ),
    "201": lambda codes, bits: imagecodecs.htj2k_encode(codes),
}


@st.composite
def samples(draw: st.DrawFn) -> tuple[np.ndarray, int, bool]:
    """Draw codes [rows, columns] of so many bits, flat, noisy or stepped, and whether they have a sign."""
    bits = draw(st.integers(8, 16))
    rows, columns = draw(st.integers(2, 40)), draw(st.integers(2, 40))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    highest = draw(st.sampled_from([1, 2, 1 << (bits // 2), 1 << bits]))
    codes = random.integers(0, min(highest, 1 << bits), (rows, columns))
    codes[rows // 2 :] = draw(st.sampled_from([0, (1 << bits) - 1, 1 << (bits - 1)]))
    return codes.astype(np.uint8 if bits == 8 else np.uint16), bits, draw(st.booleans())


def image(codes: np.ndarray, bits: int, signed: bool, **keywords: object) -> Dataset:
    layout = {"BitsAllocated": codes.itemsize * 8, "BitsStored": bits, "HighBit": bits - 1}
    return chest_radiograph(
        codes, **(layout | {"PixelRepresentation": int(signed), "PixelData": codes.tobytes()} | keywords)
    )


def encapsulated(syntax: str, stream: bytes, codes: np.ndarray, bits: int, signed: bool) -> Dataset:
    dataset = image(codes, bits, signed, TransferSyntaxUID=syntax, PixelData=encapsulate([stream]))
    dataset["PixelData"].is_undefined_length = True
    return dataset


@pytest.mark.parametrize("syntax", ENCODERS)
@settings(max_examples=40, deadline=None)
@given(samples())
def test_a_lossless_code_stream_gives_every_sample_back(syntax: str, drawn: tuple[np.ndarray, int, bool]) -> None:
    codes, bits, signed = drawn
    dataset = encapsulated(FAMILY + syntax, ENCODERS[syntax](codes, bits), codes, bits, signed)
    np.testing.assert_array_equal(decode_frame(dataset).values, codes)


@settings(max_examples=60, deadline=None)
@given(samples())
@example((np.array([[242, 262], [0, 0]], np.uint16), 9, True))  # its one step over the sign is no wrong sign
@example((np.array([[6318, 3001], [0, 0]], np.uint16), 13, True))  # the sign is not carried up, and the words are right
def test_run_lengths_and_plain_words_give_every_sample_back(drawn: tuple[np.ndarray, int, bool]) -> None:
    codes, bits, signed = drawn
    dataset = image(codes, bits, signed)
    np.testing.assert_array_equal(decode_frame(dataset).values, codes)
    words = codes if codes.itemsize == 1 else codes.astype(">u2")
    if codes.itemsize == 2:
        big = image(codes, bits, signed, TransferSyntaxUID="1.2.840.10008.1.2.2", PixelData=words.tobytes())
        np.testing.assert_array_equal(decode_frame(big).values, codes)
    dataset.compress("1.2.840.10008.1.2.5", encoding_plugin="pydicom")
    np.testing.assert_array_equal(decode_frame(dataset).values, codes)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([*ENCODERS, "50", "51", "81", "91", "203"]),
    st.one_of(st.binary(max_size=200), st.sampled_from([b"\xff\xd8\xff", b"\xff\x4f\xff\x51"])),
    st.binary(max_size=300),
    st.integers(1, 16),
    st.sampled_from([1, 3]),
)
def test_no_bytes_leave_the_decoder_but_by_name(
    syntax: str, start: bytes, rest: bytes, bits: int, samples_per_pixel: int
) -> None:
    colours = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    dataset = chest_radiograph(
        Rows=7, Columns=9, BitsAllocated=8 if samples_per_pixel == 3 or bits <= 8 else 16, BitsStored=bits,
        HighBit=bits - 1, TransferSyntaxUID=FAMILY + syntax, PixelData=encapsulate([start + rest or b"\0"]),
        **(colours if samples_per_pixel == 3 else {}),
    )  # fmt: skip
    dataset["PixelData"].is_undefined_length = True
    for decoding in Decoding:
        with pytest.raises(UndecodableError) as caught:
            read_radiograph(dataset, decoding)
        assert caught.value.reason_code in (ReasonCode.UNDECODABLE, ReasonCode.UNSUPPORTED_PIXELS)
