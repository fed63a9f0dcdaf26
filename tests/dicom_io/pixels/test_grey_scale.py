"""Stored values to grey levels: what the standard asks for, and what senders make of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from factories import chest_radiograph, write_dicom
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from dicom_io.data_sets.dicom_file import read_dicom_file
from dicom_io.foundation.reasons import ReasonCode, UndecodableError
from dicom_io.pixels.radiograph import Radiograph, read_radiograph

RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)
NO_WINDOW = {"WindowCenter": None, "WindowWidth": None}


def shown(**keywords: Any) -> Radiograph:
    return read_radiograph(chest_radiograph(RAMP, **keywords))


def grey(**keywords: Any) -> np.ndarray:
    return shown(**keywords).pixels.ravel()


def lut(entries: np.ndarray, first: int = 0, bits: int = 12, announced: int | None = None) -> list[Dataset]:
    item = Dataset()
    item.LUTDescriptor = [len(entries) % 65536 if announced is None else announced, first, bits]
    item.LUTData = entries.astype("<u2").tobytes()
    return [item]


INVERTED = 4095 - np.arange(4096)


def test_what_was_done_is_said_in_words():
    scale = shown(RescaleSlope="2", RescaleIntercept="-10", PixelPaddingValue=5).grey_scale
    assert scale is not None
    assert (scale.modality, scale.voi, scale.polarity) == (
        "2 x + -10",
        "window 2048 / 4096 LINEAR",
        "PresentationLUTShape IDENTITY",
    )
    assert scale.padding == (5, 5) and not scale.inverted


def test_a_missing_slope_or_intercept_is_one_or_zero():
    np.testing.assert_array_equal(grey(RescaleSlope=None), grey())
    np.testing.assert_array_equal(grey(RescaleIntercept=None), grey())
    doubled = grey(RescaleIntercept=None, RescaleSlope="2", WindowWidth="8191", WindowCenter="4096")
    assert np.abs(doubled.astype(int) - grey()).max() <= 1


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("RescaleSlope", "1e300"), ("RescaleIntercept", "inf"), ("RescaleSlope", "one"), ("RescaleSlope", "0")],
)
def test_rescale_values_that_give_no_picture_are_refused(keyword, value):
    dataset = chest_radiograph(RAMP)
    dataset.add_new(keyword, "LO", value)
    with pytest.raises(UndecodableError) as caught:
        read_radiograph(dataset)
    assert caught.value.reason_code is ReasonCode.UNSUPPORTED_PIXELS


def test_a_monochrome1_image_with_a_falling_voi_lut_is_inverted_once_for_each():
    falling = grey(VOILUTSequence=lut(INVERTED))
    assert falling[0] == 255 and falling[-1] == 0
    both = grey(VOILUTSequence=lut(INVERTED), PhotometricInterpretation="MONOCHROME1", PresentationLUTShape=None)
    np.testing.assert_array_equal(both, 255 - falling)


@pytest.mark.parametrize("shape", ["INVERSE", "INVERSE ", "inverse"])
def test_the_presentation_shape_decides_however_it_is_written(shape):
    for interpretation in ("MONOCHROME1", "MONOCHROME2"):
        inverted = grey(PhotometricInterpretation=interpretation, PresentationLUTShape=shape)
        np.testing.assert_array_equal(inverted, 255 - grey())


@pytest.mark.parametrize("shape", ["", "LIN OD", "NONSENSE"])
def test_an_unknown_presentation_shape_leaves_the_photometric_interpretation_in_charge(shape):
    np.testing.assert_array_equal(
        grey(PhotometricInterpretation="MONOCHROME1", PresentationLUTShape=shape), 255 - grey()
    )


@pytest.mark.parametrize(
    "announced_bits",
    [12, 16, 8, 10, 0],  # 12 is true of these entries
)
def test_wrong_bits_in_a_voi_lut_descriptor_do_not_darken_the_picture(announced_bits):
    pixels = grey(VOILUTSequence=lut(np.arange(4096), bits=announced_bits))
    np.testing.assert_array_equal(pixels, np.rint(RAMP.ravel() / 4095 * 255))


def test_fewer_or_more_entries_than_announced_are_used_as_far_as_they_go():
    short = grey(VOILUTSequence=lut(np.arange(1024) * 4, announced=4096))
    np.testing.assert_array_equal(short, np.rint(np.minimum(RAMP.ravel(), 1023) * 4 / 4095 * 255))
    long = grey(VOILUTSequence=lut(np.arange(4096), announced=2048))
    np.testing.assert_array_equal(long, np.rint(np.minimum(RAMP.ravel(), 2047) / 4095 * 255))


def test_no_entries_announced_means_all_65536():
    entries, every = np.arange(65536) // 16, np.arange(65536, dtype=np.uint16).reshape(256, 256)
    dataset = chest_radiograph(every, BitsStored=16, HighBit=15, VOILUTSequence=lut(entries, announced=0, bits=8))
    np.testing.assert_array_equal(read_radiograph(dataset).pixels, np.rint(entries[every] / 4095 * 255))


@pytest.mark.parametrize("announced", [4096, 4095])
def test_entries_of_eight_bits_packed_two_to_a_word_are_unpacked(announced):
    item = Dataset()
    item.LUTDescriptor = [announced, 0, 8]
    item.LUTData = (np.arange(4096) // 16).astype(np.uint8).tobytes()
    np.testing.assert_array_equal(grey(VOILUTSequence=[item]), RAMP.ravel() // 16)


def test_half_as_many_entries_of_eight_bits_as_announced_are_not_taken_for_packed_ones():
    few = RAMP[:8]
    half = chest_radiograph(few, VOILUTSequence=lut(np.arange(256), bits=8, announced=512))
    np.testing.assert_array_equal(read_radiograph(half).pixels, np.minimum(few, 255))


@pytest.mark.parametrize("first", [-1000, 64536])
def test_the_first_input_may_be_negative_with_either_sign_written(first):
    item = Dataset()
    item.add_new("LUTDescriptor", "US" if first > 0 else "SS", [4096, first, 12])
    item.LUTData = np.arange(4096).astype("<u2").tobytes()
    pixels = grey(RescaleIntercept="-1000", VOILUTSequence=[item])
    np.testing.assert_array_equal(pixels, np.rint(RAMP.ravel() / 4095 * 255))


@pytest.mark.parametrize("first", [-1000, 64536])
@pytest.mark.parametrize("representation", [0, 1])
def test_the_first_input_may_be_negative_though_no_pixel_is(first, representation):
    """A table for all a detector can give begins below zero; the darkest pixel of a picture need not lie there."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US" if first > 0 else "SS", [6000, first, 13])
    item.LUTData = np.arange(6000).astype("<u2").tobytes()
    pixels = grey(BitsStored=13, HighBit=12, PixelRepresentation=representation, VOILUTSequence=[item])
    np.testing.assert_array_equal(pixels, np.rint(np.minimum(RAMP.ravel() + 1000, 5999) / 8191 * 255))


def test_a_large_first_input_is_no_negative_one_for_a_pixel_below_zero():
    values = np.linspace(0, 65535, 4096).astype(np.uint16).reshape(64, 64)
    dataset = chest_radiograph(values, BitsStored=16, HighBit=15, RescaleIntercept="-100")
    dataset.VOILUTSequence = lut(np.arange(16384), first=40000, bits=14)
    expected = np.clip(values.astype(int) - 100 - 40000, 0, 16383) / 16383
    np.testing.assert_array_equal(read_radiograph(dataset).pixels, np.rint(expected * 255))


@pytest.mark.parametrize(
    "broken",
    [
        {"LUTDescriptor": None},
        {"LUTDescriptor": [4096, 0]},
        {"LUTDescriptor": [4096, 0, 17]},
        {"LUTData": None},
        {"LUTData": b""},
    ],
)
def test_an_unusable_voi_lut_leaves_the_window_in_charge_and_an_unusable_modality_lut_is_refused(broken):
    (item,) = lut(INVERTED)
    for keyword, value in broken.items():
        if value is None:
            delattr(item, keyword)
        else:
            setattr(item, keyword, value)
    np.testing.assert_array_equal(grey(VOILUTSequence=[item]), grey())
    with pytest.raises(UndecodableError) as caught:
        grey(ModalityLUTSequence=[item])
    assert caught.value.reason_code is ReasonCode.UNSUPPORTED_PIXELS


def test_empty_sequences_are_no_sequences():
    np.testing.assert_array_equal(grey(VOILUTSequence=[], ModalityLUTSequence=[]), grey())


def test_a_modality_lut_wins_over_slope_and_intercept():
    pixels = grey(ModalityLUTSequence=lut(INVERTED), RescaleSlope="7")
    np.testing.assert_array_equal(pixels, 255 - grey())


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"])
def test_tables_and_padding_read_the_same_in_every_byte_order(syntax, tmp_path):
    item = Dataset()
    item.add_new("LUTDescriptor", "SS", [4096, -2048, 12])
    big_endian = syntax.endswith("1.2.2")
    item.LUTData = INVERTED.astype(">u2" if big_endian else "<u2").tobytes()
    item["LUTData"].VR = "OW"
    dataset = chest_radiograph(
        RAMP, PixelRepresentation=1, VOILUTSequence=[item], TransferSyntaxUID=syntax,
        PixelData=RAMP.astype(">u2" if big_endian else "<u2").tobytes(),
    )  # fmt: skip
    dataset.add_new("PixelPaddingValue", "SS", -2048)
    pixels = read_radiograph(write_dicom(dataset, tmp_path / "x.dcm")).pixels.ravel()
    stored = np.where(RAMP.ravel() < 2048, RAMP.ravel().astype(int), RAMP.ravel().astype(int) - 4096)
    expected = np.rint(INVERTED[stored + 2048] / 4095 * 255)
    expected[stored == -2048] = 0
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize(
    ("representation", "value"),
    [("SS", -2048), ("US", 63488), ("US", 2048)],  # as 16 bits without sign, and as 12 bits without sign
)
def test_padding_of_signed_data_is_found_with_either_sign_written(representation, value):
    dataset = chest_radiograph(RAMP, PixelRepresentation=1, WindowCenter="0", WindowWidth="4096")
    dataset.add_new("PixelPaddingValue", representation, value)
    dataset.PhotometricInterpretation, dataset.PresentationLUTShape = "MONOCHROME1", "INVERSE"
    pixels = read_radiograph(dataset).pixels.ravel()
    assert pixels[2048] == 0  # the code of -2048, which would be white
    assert pixels[2049] == 255


def test_a_padding_range_of_monochrome1_ends_below_its_first_value():
    """PS3.3 C.7.5.1.1.2: there the limit is the smaller of the two."""
    inverse = {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}
    pixels = grey(PixelPaddingValue=10, PixelPaddingRangeLimit=3, **inverse)
    assert not pixels[3:11].any()
    assert pixels[[2, 11]].tolist() == [255, 254]


def test_padding_written_with_a_sign_that_the_pixels_lack_is_found():
    picture = np.array([[65535, 65534], [1, 0]], dtype=np.uint16)
    window = {"WindowCenter": "32768", "WindowWidth": "65536"}
    dataset = chest_radiograph(picture, BitsStored=16, HighBit=15, **window)
    dataset.add_new("PixelPaddingValue", "SS", -1)
    assert read_radiograph(dataset).pixels.tolist() == [[0, 255], [0, 0]]


def test_padding_beyond_the_stored_bits_marks_no_pixel():
    np.testing.assert_array_equal(grey(PixelPaddingValue=65535), grey())
    np.testing.assert_array_equal(grey(PixelPaddingValue=4096), grey())


@pytest.mark.parametrize("value", ["x", [1, 2], b"\1"])
def test_padding_that_is_no_number_is_none(value):
    dataset = chest_radiograph(RAMP)
    dataset.add_new("PixelPaddingValue", "LO" if isinstance(value, str) else "UN", value)
    np.testing.assert_array_equal(read_radiograph(dataset).pixels.ravel(), grey())


@pytest.mark.parametrize("bits", [8, 7, 6])
def test_a_byte_picture_without_a_window_is_shown_as_it_is(bits):
    picture = np.random.default_rng(4).integers(40, 60, (32, 32), dtype=np.uint8) >> (8 - bits)
    dataset = chest_radiograph(
        RAMP[:32, :32], BitsAllocated=8, BitsStored=bits, HighBit=bits - 1, PixelData=picture.tobytes(), **NO_WINDOW
    )
    radiograph = read_radiograph(dataset)
    np.testing.assert_array_equal(radiograph.pixels, np.rint(picture / (2**bits - 1) * 255))
    assert not radiograph.voi_fallback
    dataset.RescaleSlope = "2"  # now the values have a unit, and a window is missing
    assert read_radiograph(dataset).voi_fallback
    dataset.RescaleSlope, dataset.PixelRepresentation = "1", 1  # nothing with a sign was made for the screen
    assert read_radiograph(dataset).voi_fallback


def test_a_window_of_width_one_is_black_up_to_its_edge_and_white_above():
    """PS3.3 C.11.2.1.2.1: what equals center - 0.5 is still black."""
    few = np.array([[2040, 2047], [2048, 2049]], np.uint16)  # of a picture with more values it would show nothing
    pixels = read_radiograph(chest_radiograph(few, WindowCenter="2048.5", WindowWidth="1")).pixels
    assert pixels.tolist() == [[0, 0], [0, 255]]


@pytest.mark.parametrize("center", ["1,5", "abc", "", ["x", "2"], "1e999"])
def test_a_window_that_is_no_number_is_none(center):
    dataset = chest_radiograph(RAMP)
    dataset.add_new("WindowCenter", "LO", center)
    assert read_radiograph(dataset).voi_fallback


@pytest.mark.parametrize("function", ["linear", " LINEAR", "", None])
def test_the_linear_function_is_known_however_it_is_written(function):
    np.testing.assert_array_equal(grey(VOILUTFunction=function), grey())


@pytest.mark.parametrize(
    ("bits", "encoded"),
    [
        pytest.param(16, lambda entries: (entries << 8).astype("<u2"), id="16 bits"),
        pytest.param(8, lambda entries: entries.astype(np.uint8), id="8 bits"),
        pytest.param(8, lambda entries: entries.astype("<u2"), id="8 bits in words"),  # PS3.3 C.7.6.3.1.6, the note
        pytest.param(16, lambda entries: entries.astype("<u2"), id="8 bits said to be 16"),
    ],
)
def test_palette_indices_become_the_luma_of_their_colours(bits, encoded):
    dataset = chest_radiograph(
        RAMP[:2, :2], PhotometricInterpretation="PALETTE COLOR", BitsAllocated=8, BitsStored=8, HighBit=7,
        PixelData=bytes([0, 1, 2, 3]),
    )  # fmt: skip
    colours = {"Red": [255, 0, 0, 9], "Green": [0, 255, 0, 9], "Blue": [0, 0, 255, 9]}
    for colour, entries in colours.items():
        setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [4, 0, bits])
        setattr(dataset, f"{colour}PaletteColorLookupTableData", encoded(np.array(entries)).tobytes())
    np.testing.assert_array_equal(read_radiograph(dataset).pixels, [[76, 150], [29, 9]])  # ITU-R BT.601
    del dataset.RedPaletteColorLookupTableData
    with pytest.raises(UndecodableError):
        read_radiograph(dataset)


@pytest.mark.parametrize("entries", [[10, 20, 30, 40], np.arange(4096) // 16])
def test_indices_of_more_bits_than_a_palette_are_its_entries_or_its_last_one(entries):
    dataset = chest_radiograph(RAMP, PhotometricInterpretation="PALETTE COLOR")
    for colour in ("Red", "Green", "Blue"):
        setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [len(entries), 0, 8])
        setattr(dataset, f"{colour}PaletteColorLookupTableData", np.array(entries, np.uint8).tobytes())
    expected = np.array(entries)[np.minimum(RAMP, len(entries) - 1)]
    np.testing.assert_array_equal(read_radiograph(dataset).pixels, expected)


def test_a_palette_with_a_segment_of_no_length_is_refused():
    dataset = chest_radiograph(
        RAMP[:2, :2], PhotometricInterpretation="PALETTE COLOR", BitsAllocated=8, BitsStored=8, HighBit=7,
        PixelData=bytes([0, 1, 2, 3]),
    )  # fmt: skip
    segments = np.array([0, 1, 500, 1, 0, 900], "<u2").tobytes()  # one discrete entry, then a line over no entries
    for colour in ("Red", "Green", "Blue"):
        setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [4, 0, 16])
        setattr(dataset, f"Segmented{colour}PaletteColorLookupTableData", segments)
    with pytest.raises(UndecodableError) as caught:
        read_radiograph(dataset)
    assert caught.value.reason_code is ReasonCode.UNSUPPORTED_PIXELS


@pytest.mark.parametrize("interpretation", ["", None, "XYZ", "ARGB", "RGB"])
def test_a_grey_layout_of_unknown_polarity_is_refused(interpretation):
    with pytest.raises(UndecodableError) as caught:
        grey(PhotometricInterpretation=interpretation)
    assert caught.value.reason_code is ReasonCode.UNSUPPORTED_PIXELS


@pytest.mark.parametrize("missing", ["BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel"])
def test_attributes_that_follow_from_others_may_be_missing(missing):
    full = RAMP << 4
    keywords = {"BitsStored": 16, "HighBit": 15, "WindowCenter": "32768", "WindowWidth": "65536"}
    expected = read_radiograph(chest_radiograph(full, **keywords)).pixels
    np.testing.assert_array_equal(
        read_radiograph(chest_radiograph(full, **keywords | {missing: None})).pixels, expected
    )


def test_the_icon_is_never_taken_for_the_picture(tmp_path):
    icon = chest_radiograph(np.zeros((64, 64), np.uint16))
    del icon.file_meta
    dataset = chest_radiograph(RAMP, IconImageSequence=[icon])
    del dataset.PixelData
    with pytest.raises(UndecodableError) as caught:
        read_radiograph(read_dicom_file(write_dicom(dataset, tmp_path / "x.dcm")))
    assert caught.value.reason_code is ReasonCode.NO_PIXELS


NUMBER_TEXTS = st.one_of(
    st.sampled_from(["", "0", "1", "-1", "1e308", "-1e308", "nan", "inf", "1e-320", "0.5", "2048", "x", "1,5"]),
    st.floats(width=32).map(lambda number: f"{number:.7g}"),
    st.integers(-70000, 70000).map(str),
)


@st.composite
def tables(draw: st.DrawFn) -> list[Dataset]:
    item = Dataset()
    descriptor = draw(st.lists(st.integers(-32768, 65535), min_size=0, max_size=4))
    representation = "SS" if any(part < 0 for part in descriptor) else "US"
    item.add_new(
        "LUTDescriptor", representation, [min(part, 32767) if representation == "SS" else part for part in descriptor]
    )
    item.add_new("LUTData", "OW", draw(st.binary(max_size=600)))
    return [item] * draw(st.integers(0, 2))


@st.composite
def images(draw: st.DrawFn) -> Dataset:
    """Draw images of any bit depth, sign, rescale, window, table and padding, right or wrong."""
    allocated = draw(st.sampled_from([8, 16]))
    stored = draw(st.integers(1, allocated))
    pixels = draw(st.binary(min_size=9 * allocated // 8, max_size=9 * allocated // 8))
    keywords: dict[str, Any] = {
        "Rows": 3, "Columns": 3, "BitsAllocated": allocated, "BitsStored": stored, "HighBit": stored - 1,
        "PixelRepresentation": draw(st.integers(0, 1)), "PixelData": pixels,
        "PhotometricInterpretation": draw(st.sampled_from(["MONOCHROME1", "MONOCHROME2"])),
        "PresentationLUTShape": draw(st.sampled_from([None, "INVERSE", "IDENTITY", "LIN OD"])),
        "VOILUTFunction": draw(st.sampled_from([None, "LINEAR", "LINEAR_EXACT", "SIGMOID", "CURVED"])),
    }  # fmt: skip
    dataset = chest_radiograph(RAMP, **keywords)
    for keyword in ("RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth"):
        dataset.add_new(keyword, "LO", draw(NUMBER_TEXTS))
    if draw(st.booleans()):
        dataset.add_new("PixelPaddingValue", "SL", draw(st.integers(-70000, 70000)))
        dataset.add_new("PixelPaddingRangeLimit", "SL", draw(st.integers(-70000, 70000)))
    if draw(st.booleans()):
        dataset.VOILUTSequence = draw(tables())
    if draw(st.integers(0, 3)) == 0:
        dataset.ModalityLUTSequence = draw(tables())
    return dataset


@settings(max_examples=150, deadline=None)
@given(images())
def test_every_image_becomes_grey_levels_or_is_refused_by_name(dataset):
    try:
        radiograph = read_radiograph(dataset)
    except UndecodableError as error:
        assert error.reason_code is ReasonCode.UNSUPPORTED_PIXELS
        return
    assert radiograph.pixels.dtype == np.uint8 and radiograph.pixels.shape == (3, 3)
    assert radiograph.grey_scale is not None
    assert radiograph.grey_scale.table.shape == (1 << dataset.BitsStored,)


@settings(max_examples=80, deadline=None)
@given(
    st.integers(2, 16),
    st.booleans(),
    st.floats(0.001, 1000),
    st.floats(-5000, 5000),
    st.floats(1, 70000),
    st.floats(-70000, 70000),
    st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
    st.booleans(),
)
def test_every_window_is_monotone_and_inversion_is_its_mirror(
    stored, signed, slope, intercept, width, center, function, inverse
):
    codes = np.arange(1 << stored, dtype=np.uint16)
    if signed:  # from the most negative code upwards
        codes = np.roll(codes, codes.size // 2)
    codes = codes.reshape(-1, min(1 << stored, 256))
    dataset = chest_radiograph(
        codes, BitsStored=stored, HighBit=stored - 1, PixelRepresentation=int(signed), VOILUTFunction=function,
        PresentationLUTShape="INVERSE" if inverse else "IDENTITY",
    )  # fmt: skip
    for keyword, value in (
        ("RescaleSlope", slope), ("RescaleIntercept", intercept), ("WindowWidth", width), ("WindowCenter", center)
    ):  # fmt: skip
        dataset.add_new(keyword, "FD", value)
    steps = np.diff(read_radiograph(dataset).pixels.ravel().astype(int))
    assert (steps <= 0).all() if inverse else (steps >= 0).all()


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(0, 65535), min_size=1, max_size=300), st.integers(1, 16), st.integers(0, 65535))
def test_a_table_is_as_monotone_as_its_entries(entries, bits, first):
    pixels = grey(VOILUTSequence=lut(np.sort(entries), first=first, bits=bits)).astype(int)
    assert (np.diff(pixels) >= 0).all()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 4095), min_size=2, max_size=400), st.booleans(), st.floats(0.1, 50))
def test_the_fallback_window_is_the_percentiles_of_the_pixels(values, negative, slope):
    pixels = np.array(values, np.uint16).reshape(1, -1)
    dataset = chest_radiograph(pixels, **NO_WINDOW)
    dataset.add_new("RescaleSlope", "FD", -slope if negative else slope)
    modality = pixels * (-slope if negative else slope)
    low, high = np.percentile(modality, (0.5, 99.5))
    expected = np.clip((modality - low) / max(high - low, 1e-6), 0, 1) * 255
    assert np.abs(read_radiograph(dataset).pixels - expected).max() <= 0.5 + 1e-6
    assert read_radiograph(dataset).voi_fallback


def test_padding_takes_no_part_in_the_fallback_window():
    """Else a collimated radiograph would be shown with less contrast than an open one."""
    picture = np.where(RAMP < 1024, 0, RAMP)
    low, high = np.percentile(RAMP[RAMP >= 1024], (0.5, 99.5))
    expected = np.clip((picture - low) / (high - low), 0, 1) * 255
    pixels = read_radiograph(chest_radiograph(picture, PixelPaddingValue=0, **NO_WINDOW)).pixels
    assert np.abs(pixels - expected).max() <= 0.5 + 1e-6


def test_a_picture_of_padding_alone_is_black():
    assert not read_radiograph(chest_radiograph(np.full_like(RAMP, 7), PixelPaddingValue=7, **NO_WINDOW)).pixels.any()
