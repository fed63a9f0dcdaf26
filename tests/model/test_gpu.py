"""A GPU is used where it computes what the bundle expects, and no study is lost when it fails."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace

import model_factories
import numpy as np
import pytest
import torch

from model import gpu
from model.bundle import Bundle
from model.classifier import Classifier, NotFiniteError, RuntimeUnavailableError
from model.gpu import GpuClassifier, serving_classifier
from model.labels import LABELS
from model.runtimes import Arrays
from worker.runs.workplace import BundleUnusable, load_model
from worker.settings.config import Settings

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU on this machine")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return model_factories.bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture
def as_if_there(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the processor stand in for a GPU: torch computes the same there."""
    with_torch = gpu.with_torch
    monkeypatch.setattr(gpu, "_is_at_hand", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu, "with_torch", lambda bundle, weights, device: with_torch(bundle, weights))
    yield


def failing(error: Exception) -> Callable[..., Arrays]:
    def infer(tensor: np.ndarray) -> Arrays:
        raise error

    return infer


def test_without_a_gpu_the_processor_computes_and_a_gpu_that_was_asked_for_is_missed(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(gpu, "_is_at_hand", lambda: True)  # a driver, and no GPU
    assert serving_classifier(bundle, "auto", None).runtime == "openvino"
    with pytest.raises(RuntimeUnavailableError, match="torch sees no GPU"):
        serving_classifier(bundle, "cuda", None)


def test_a_worker_that_insists_on_a_gpu_says_what_is_missing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BundleUnusable, match=r"torch sees no GPU.*runtime"):
        load_model(settings.model_copy(update={"runtime": "cuda", "allow_demonstration_bundle": True}), "default")


@pytest.mark.usefixtures("as_if_there")
def test_a_gpu_that_computes_what_the_bundle_expects_is_used(bundle: Bundle) -> None:
    classifier = serving_classifier(bundle, "auto", None)
    assert (type(classifier), classifier.runtime) == (GpuClassifier, "cuda")
    picture = model_factories.picture(3)
    expected = Classifier.load(bundle, "torch").classify(picture).probabilities
    assert classifier.classify(picture).probabilities == expected


@pytest.mark.usefixtures("as_if_there")
@pytest.mark.parametrize(
    "wrong", ["everything", "one of two images", "nothing, it fails", "nothing, none to prove it by"]
)
def test_a_gpu_that_computes_something_else_is_not_used(
    bundle: Bundle, wrong: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    right = gpu.with_torch(bundle, gpu.read_weights(bundle), "cuda")
    images = {"one of two images": 2, "nothing, none to prove it by": 0}.get(wrong, 1)
    bundle = replace(bundle, golden_images=bundle.golden_images * images)
    calls = itertools.count(1)

    def infer(tensor: np.ndarray) -> Arrays:
        if "fails" in wrong:
            raise torch.OutOfMemoryError("CUDA out of memory")
        logits, maps = right(tensor)
        return (logits + 0.2 if wrong == "everything" or next(calls) % 2 else logits), maps

    monkeypatch.setattr(gpu, "with_torch", lambda *_: infer)
    with caplog.at_level(logging.WARNING):
        assert serving_classifier(bundle, "auto", None).runtime == "openvino"
    assert "golden images" in caplog.text
    with pytest.raises(RuntimeUnavailableError, match="golden images"):
        serving_classifier(bundle, "cuda", None)


@pytest.mark.usefixtures("as_if_there")
@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("CUDA error: unspecified")]
)
def test_a_gpu_that_fails_costs_no_picture(
    bundle: Bundle, error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    classifier = serving_classifier(bundle, "auto", None)
    monkeypatch.setattr(classifier, "_infer", failing(error))
    picture = model_factories.picture(3)
    expected = Classifier.load(bundle, "openvino").classify(picture).probabilities
    for _ in range(2):
        assert classifier.classify(picture).probabilities == expected
    assert classifier.runtime == "openvino"
    assert caplog.text.count("the GPU failed") == 1


@pytest.mark.usefixtures("as_if_there")
def test_a_gpu_that_computes_no_number_is_not_believed(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = serving_classifier(bundle, "auto", None)
    nothing = np.full((1, 14), np.nan, np.float32), np.full((1, 14, 7, 7), np.nan, np.float32)
    monkeypatch.setattr(classifier, "_infer", lambda tensor: nothing)
    assert classifier.classify(model_factories.picture(3)).probabilities[LABELS.index("Effusion")] is not None
    assert classifier.runtime == "openvino"
    monkeypatch.setattr(classifier, "_infer", lambda tensor: nothing)  # the bundle's own fault
    with pytest.raises(NotFiniteError):
        classifier.classify(model_factories.picture(3))


@needs_gpu
def test_a_gpu_gives_the_processors_probabilities(bundle: Bundle) -> None:
    ours, reference = serving_classifier(bundle, "cuda", None), Classifier.load(bundle, "openvino")
    for seed in range(4):
        found, expected = (each.classify(model_factories.picture(seed)) for each in (ours, reference))
        np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-4, rtol=0)
        np.testing.assert_allclose(found.maps, expected.maps, atol=1e-3, rtol=1e-3)
