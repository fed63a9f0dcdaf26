from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_io.foundation.uids import deterministic_uid, is_valid_uid


@pytest.mark.parametrize("uid", ["1.2.3", "0", "2.25.0", "1.0.1", "1.02.3", "1." + "2" * 62])
def test_valid_uids_pass(uid):
    assert is_valid_uid(uid)


@pytest.mark.parametrize(
    "uid",
    ["", ".", "1.", ".1", "1..2", "1.2.3\n", "1.2\0", " 1.2", "1.2/3", "../1.2", "1.a", "\u0661.2",
     "1." + "2" * 63, "1.2\\1.3", None, 12, ["1.2"]],
)  # fmt: skip
def test_anything_else_does_not(uid):
    assert not is_valid_uid(uid)


@given(st.text())
def test_what_passes_never_leaves_its_folder(text):
    assert not is_valid_uid(text) or (set(text) <= set("0123456789.") and ".." not in text)


@given(st.lists(st.text(), min_size=1), st.lists(st.text(), min_size=1))
def test_uids_are_equal_exactly_for_equal_parts(one, other):
    assert (deterministic_uid(*one) == deterministic_uid(*other)) == (one == other)


@given(st.lists(st.text(), min_size=1))
def test_generated_uids_are_valid_and_128_bits(parts):
    uid = deterministic_uid(*parts)
    assert is_valid_uid(uid)
    assert uuid.UUID(int=int(uid.removeprefix("2.25.")))


def test_the_same_parts_give_the_same_uid_in_every_release():
    # golden: sha256 of b"1:a2:bc", first 16 bytes, worked out with `printf '1:a2:bc' | sha256sum`
    assert deterministic_uid("a", "bc") == f"2.25.{GOLDEN_A_BC}"


def test_no_parts_are_an_error():
    with pytest.raises(ValueError, match="at least one part"):
        deterministic_uid()


GOLDEN_A_BC = int("5310a58788781ab25d5ad7c3f8503582", 16)
