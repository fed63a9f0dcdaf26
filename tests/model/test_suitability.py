"""The check that judges pictures before the network sees them: computed right, and part of a verified bundle."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import model_factories
import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from safetensors.numpy import load_file, save_file
from suitability_checks import FACTS, always, random_network, tensors
from typer.testing import CliRunner

from model.bundle import Bundle, BundleError, load_bundle, read_weights, write_bundle
from model.classifier import Classifier
from model.cli import app
from model.suitability import OUTPUTS, SuitabilityCheck, SuitabilityError, Verdict
from model.suitability_network import SIZE_PX, check_input, forward, standardised


def checked_bundle(folder: Path, check: SuitabilityCheck | None) -> Bundle:
    plain = model_factories.bundle(folder)
    return write_bundle(folder, model_factories.facts(), read_weights(plain), "# Card\n", check=check)


def test_numpy_computes_what_the_taught_network_computes() -> None:
    network, pictures = random_network(), [model_factories.picture(seed, (90, 70)) for seed in range(5)]
    with torch.inference_mode():
        features, logits = network(torch.from_numpy(np.stack([check_input(picture) for picture in pictures])))
    for picture, expected_features, expected_logits in zip(pictures, features, logits, strict=True):
        found_features, found_logits = forward(tensors(), check_input(picture))
        np.testing.assert_allclose(found_features, expected_features.numpy(), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(found_logits, expected_logits.numpy(), rtol=1e-4, atol=1e-4)


def test_the_input_keeps_polarity_and_does_not_blow_up_an_empty_film() -> None:
    picture = model_factories.picture(1, (SIZE_PX, SIZE_PX))
    np.testing.assert_allclose(check_input(np.asarray(255 - picture)), -check_input(picture), atol=1e-5)
    nearly_blank = np.full((SIZE_PX, SIZE_PX), 120, np.uint8)
    nearly_blank[::2] += 2
    assert float(np.abs(standardised(nearly_blank)).max()) < 0.1


@pytest.mark.parametrize("verdict", OUTPUTS)
def test_each_output_is_a_verdict_and_only_frontal_is_suitable(verdict: Verdict) -> None:
    found = always(verdict).judge(model_factories.picture())
    assert found.verdict is verdict
    assert found.suitable == (verdict is Verdict.FRONTAL)
    assert verdict.words in found.sentence
    assert found.score == pytest.approx(1.0 if verdict is Verdict.FRONTAL else 0.0, abs=1e-6)


def test_a_picture_far_from_the_training_pictures_is_unfamiliar_however_frontal_it_looks() -> None:
    near, far = (always(Verdict.FRONTAL, distance).judge(model_factories.picture()) for distance in (0.24, 0.26))
    assert (near.verdict, far.verdict) == (Verdict.FRONTAL, Verdict.UNFAMILIAR)  # 64 * 0.25**2 = the limit, 4
    assert near.distance == pytest.approx(0.96, abs=1e-3)
    assert far.distance == pytest.approx(1.04, abs=1e-3)


def test_a_frontal_score_below_the_limit_is_the_next_likely_verdict() -> None:
    doubtful = always(Verdict.FRONTAL, limit=0.9, certainty=1.0)
    found = doubtful.judge(model_factories.picture())
    assert found.score == pytest.approx(np.e / (np.e + 7))
    assert found.verdict not in (Verdict.FRONTAL, Verdict.UNFAMILIAR)


@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")
def test_a_check_that_computes_no_number_says_so_and_not_frontal() -> None:
    huge = {name: values * np.float32(1e18) for name, values in tensors().items() if name.endswith("weight")}
    with pytest.raises(SuitabilityError, match="no finite number"):
        SuitabilityCheck(FACTS, tensors() | huge).judge(model_factories.picture())


def test_only_grey_pictures_are_judged() -> None:
    with pytest.raises(ValueError, match="uint8"):
        always(Verdict.FRONTAL).judge(np.zeros((8, 8), np.float32))  # type: ignore[arg-type]


def test_the_bundle_brings_its_check_and_names_it_in_its_version(tmp_path: Path) -> None:
    without = checked_bundle(tmp_path / "without", None)
    bundle = checked_bundle(tmp_path / "with", always(Verdict.INVERTED))
    assert bundle.weights_sha256 == without.weights_sha256
    assert bundle.model_version.startswith(f"{without.model_version}.check.")
    assert len(bundle.model_version) <= 64  # a DICOM LO
    found = Classifier.load(bundle, "torch").examine(model_factories.picture())
    assert found is not None
    assert found.verdict is Verdict.INVERTED
    stricter = checked_bundle(tmp_path / "stricter", always(Verdict.INVERTED, limit=0.6))
    assert stricter.model_version != bundle.model_version


def test_a_bundle_without_a_check_says_so(tmp_path: Path) -> None:
    bundle = checked_bundle(tmp_path / "bundle", None)
    assert Classifier.load(bundle, "torch").examine(model_factories.picture()) is None
    assert "Input suitability: not checked" in CliRunner().invoke(app, ["show", str(bundle.folder)]).output
    with_check = checked_bundle(tmp_path / "with", always(Verdict.FRONTAL))
    shown = CliRunner().invoke(app, ["show", str(with_check.folder)]).output
    assert "Input suitability: checked from score 0.500, learned from nothing: random weights" in shown


def test_an_altered_check_is_refused(tmp_path: Path) -> None:
    bundle = checked_bundle(tmp_path / "bundle", always(Verdict.FRONTAL))
    file = bundle.folder / "suitability.safetensors"
    values = load_file(file)
    values["verdict.bias"] += 1
    save_file(values, file)
    with pytest.raises(BundleError, match=r"suitability\.safetensors is altered or damaged"):
        load_bundle(bundle.folder)


@pytest.mark.parametrize("name", ["distance.precision", "conv1.weight"])
def test_a_check_that_lacks_a_tensor_or_holds_infinities_is_refused(name: str) -> None:
    whole = tensors()
    for damaged in ({**whole, name: np.full_like(whole[name], np.inf)}, {n: v for n, v in whole.items() if n != name}):
        with pytest.raises(SuitabilityError, match=name):
            SuitabilityCheck.from_bytes(FACTS, SuitabilityCheck(FACTS, damaged).to_bytes())
    with pytest.raises(SuitabilityError, match="not a safetensors file"):
        SuitabilityCheck.from_bytes(FACTS, b"nothing")


def test_a_description_without_its_check_is_refused(tmp_path: Path) -> None:
    bundle = checked_bundle(tmp_path / "bundle", always(Verdict.FRONTAL))
    content = json.loads((bundle.folder / "bundle.json").read_text())
    del content["content_sha256"]
    for change in ({"suitability": None}, {"files": {k: v for k, v in content["files"].items() if "suit" not in k}}):
        with pytest.raises(ValidationError, match=r"suitability\.safetensors where the bundle has a suitability check"):
            TypeAdapter(Bundle).validate_python(content | change | {"folder": tmp_path})


def test_outputs_in_another_order_are_refused() -> None:
    with pytest.raises(ValidationError, match="outputs must be, in this order: frontal, inverted"):
        replace(FACTS, outputs=FACTS.outputs[::-1])
