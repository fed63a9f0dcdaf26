from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from samples import public_sample, shared

from dicom_io.pixels.radiograph import read_radiograph
from model.preprocess import resize_uint8
from training.data.pictures import UnreadablePictureError, read_grey, read_picture


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (20, 30), dtype=np.uint8)


@pytest.mark.parametrize(("mode", "channels"), [("RGBA", 4), ("RGB", 3), ("LA", 2), ("L", 1)])
def test_colour_and_alpha_originals_give_the_same_grey_levels(
    tmp_path: Path, noise: np.ndarray, mode: str, channels: int
) -> None:
    Image.fromarray(noise).convert(mode).save(tmp_path / "picture.png")
    picture = read_picture(tmp_path / "picture.png")
    assert np.array_equal(picture.pixels, noise)
    assert (picture.channels, picture.coloured) == (channels, False)


def test_a_picture_whose_channels_differ_is_told_from_a_grey_one(tmp_path: Path, noise: np.ndarray) -> None:
    Image.fromarray(np.stack([noise, noise, 255 - noise], axis=2)).save(tmp_path / "picture.png")
    assert read_picture(tmp_path / "picture.png").coloured


def test_a_grey_jpeg_stored_in_colour_is_not_taken_for_a_coloured_one(tmp_path: Path) -> None:
    ramp = np.tile(np.arange(256, dtype=np.uint8), (64, 1))
    Image.fromarray(ramp).convert("RGB").save(tmp_path / "picture.jpg", quality=90)
    assert not read_picture(tmp_path / "picture.jpg").coloured


def test_a_flipped_bit_in_a_png_is_found_even_where_it_still_decodes(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(path, compress_level=0)
    encoded = bytearray(path.read_bytes())
    encoded[200] ^= 1  # a stored, not a compressed pixel: it decodes, to another grey level
    path.write_bytes(encoded)
    with pytest.raises(UnreadablePictureError, match="damaged or cut short"):
        read_picture(path)


@pytest.mark.timeout(10)
@pytest.mark.parametrize("suffix", [".png", ".dcm"])
def test_a_pipe_is_no_picture_and_is_not_waited_for(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"picture{suffix}"
    os.mkfifo(path)
    with pytest.raises(UnreadablePictureError, match="not a file"):
        read_picture(path)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_file_cut_short_is_no_picture(tmp_path: Path, noise: np.ndarray, suffix: str, share: float) -> None:
    path = tmp_path / f"picture{suffix}"
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(UnreadablePictureError):
        read_picture(path)


def test_a_16_bit_picture_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((9, 9), np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(UnreadablePictureError, match="not 8-bit"):
        read_picture(tmp_path / "deep.png")
    with pytest.raises(UnreadablePictureError, match="No such file"):
        read_picture(tmp_path / "none.png")


def test_a_picture_of_one_grey_level_is_blank(tmp_path: Path, noise: np.ndarray) -> None:
    Image.fromarray(np.full((40, 40), 90, np.uint8)).save(tmp_path / "flat.png")
    Image.fromarray(noise).save(tmp_path / "noise.png")
    assert read_picture(tmp_path / "flat.png").blank
    assert not read_picture(tmp_path / "noise.png").blank


def test_dicom_is_read_by_the_very_function_of_the_worker() -> None:
    sample = public_sample("RG1_J2KI.dcm")
    assert np.array_equal(read_grey(sample), read_radiograph(sample).pixels)


def test_a_file_that_is_no_dicom_file_says_why_without_a_stack_trace(tmp_path: Path) -> None:
    (tmp_path / "film.dcm").write_bytes(b"nothing of the kind")
    with pytest.raises(UnreadablePictureError, match="cannot be read as DICOM"):
        read_picture(tmp_path / "film.dcm")


def test_real_originals_resize_to_what_the_resized_copies_hold() -> None:
    """The copies are JPEG (quality 95) of the same resize, made elsewhere; what JPEG loses is all that differs."""
    originals, copies = shared("data/nih_png"), shared("data/nih256/images")
    twins = [(path, copies / f"{path.stem}.jpg") for path in sorted(originals.glob("*.png"))]
    twins = [(original, copy) for original, copy in twins if copy.exists()]
    assert len(twins) >= 10
    assert any(read_picture(original).channels == 4 for original, _ in twins)
    for original, copy in twins:
        resized, kept = resize_uint8(read_grey(original), 256).astype(float), read_grey(copy).astype(float)
        assert np.abs(resized - kept).mean() < 1.5, original.name


def test_a_file_that_is_no_picture_is_called_that(tmp_path: Path) -> None:
    path = tmp_path / "page.png"
    path.write_text("<html>log in first</html>")
    with pytest.raises(UnreadablePictureError, match="no picture that Pillow knows"):
        read_picture(path)
