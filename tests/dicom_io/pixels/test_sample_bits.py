"""Bits above the stored ones: cleared where there are some, and no copy where there are none."""

from __future__ import annotations

import numpy as np
import pytest

from dicom_io.pixels.sample_bits import without_high_bits


@pytest.mark.parametrize(("kind", "bits"), [("<u2", 12), ("<u2", 15), ("<u2", 16), ("u1", 7), ("u1", 8), ("<u4", 16)])
def test_values_without_high_bits_are_given_back_themselves(kind: str, bits: int) -> None:
    values = np.array([[0, (1 << bits) - 1]], kind)
    assert without_high_bits(values, bits) is values


@pytest.mark.parametrize(("kind", "bits"), [("<u2", 12), ("<u2", 15), ("u1", 7), ("<u4", 16)])
def test_one_value_with_a_high_bit_loses_it(kind: str, bits: int) -> None:
    values = np.array([[5, (1 << bits) - 1], [5 + (1 << bits), 0]], kind)
    assert without_high_bits(values, bits).tolist() == [[5, (1 << bits) - 1], [5, 0]]
    assert values[1, 0] == 5 + (1 << bits), "the decoder's own array was changed"
