from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import model_factories
import numpy as np
import pytest

from model.bundle import Bundle, Calibration, read_weights
from model.classifier import Classifier, RuntimeUnavailableError
from model.compiled_network import compiled
from model.golden import verify_golden
from model.labels import LABELS
from model.openvino_network import build_network
from model.preprocess import to_uint8_224
from model.quiet_openvino import openvino

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return model_factories.bundle(tmp_path / "bundle")


@pytest.mark.parametrize(
    ("architecture", "input_channels"),
    [
        ("densenet-tiny", "grey"),
        ("densenet-tiny", "imagenet-rgb"),
        ("densenet121", "grey"),
        pytest.param("densenet121", "imagenet-rgb", marks=pytest.mark.slow),
    ],
)
def test_openvino_and_torch_agree_to_a_ten_thousandth(tmp_path: Path, architecture: str, input_channels: str) -> None:
    bundle = model_factories.bundle(
        tmp_path / "bundle", trained=LABELS, architecture=architecture, input_channels=input_channels
    )
    openvino, torch = (Classifier.load(bundle, runtime) for runtime in ("openvino", "torch"))
    for seed in range(2):
        ours, reference = (which.classify(model_factories.picture(seed)) for which in (openvino, torch))
        np.testing.assert_allclose(ours.probabilities, reference.probabilities, atol=1e-4, rtol=0)
        np.testing.assert_allclose(ours.maps, reference.maps, atol=1e-3, rtol=1e-4)
        assert np.ptp(reference.logits) > 0.1  # else agreement would prove nothing


@pytest.mark.skipif(platform.machine() != "x86_64", reason="OpenVINO knows these convolutions on x86 only")
def test_the_layers_of_a_block_are_joined_without_copying(tmp_path: Path) -> None:
    """In a network that was just compiled and in one that was kept, as OpenVINO itself tells what it executes."""
    bundle = model_factories.bundle(tmp_path / "bundle", trained=LABELS)
    weights = read_weights(bundle)
    for _ in range(2):
        network = compiled(lambda: build_network(weights, bundle), "a network", tmp_path / "kept")
        facts = [node.get_rt_info() for node in network.get_runtime_model().get_ops()]
        joining = {of["primitiveType"].astype(str) for of in facts if of["layerType"].astype(str) == "Concatenation"}
        assert joining == {"unknown_f32"}, "a name such as ref_f32 is that of a copy"


def no_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "not there"))


def half_of_it(monkeypatch: pytest.MonkeyPatch, _tmp_path: Path) -> None:
    """Have a disk that is full before the graph's numbers are written."""
    serialize = openvino.serialize

    def write_half(network: object, graph: Path, weights: Path) -> None:
        serialize(network, graph, weights)
        os.truncate(weights, weights.stat().st_size // 2)

    monkeypatch.setattr(openvino, "serialize", write_half)


@pytest.mark.parametrize("trouble", [no_folder, half_of_it])
def test_where_no_temporary_file_can_be_written_the_same_is_computed(
    trouble: Callable[[pytest.MonkeyPatch, Path], None],
    bundle: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    pixels = np.random.default_rng(6).integers(0, 256, (300, 300), dtype=np.uint8)
    expected = Classifier.load(bundle, "openvino").classify(pixels).logits
    trouble(monkeypatch, tmp_path)
    found = Classifier.load(bundle, "openvino").classify(pixels).logits
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert "cannot be written out" in caplog.text


@pytest.mark.parametrize("runtime", ["openvino", "torch"])
def test_a_network_may_see_larger_pictures(tmp_path: Path, runtime: str) -> None:
    fields = {"input_size_px": 320, "preprocessing": "squash320-bilinear-imagenet-v1"}
    bundle = model_factories.bundle(tmp_path / "bundle", **fields)
    found = Classifier.load(bundle, runtime).classify(model_factories.picture(5, (700, 600)))  # type: ignore[arg-type]
    assert found.maps.shape == (14, 10, 10)
    assert verify_golden(Classifier.load(bundle, runtime))[0].passed  # type: ignore[arg-type]


@pytest.mark.parametrize("runtime", ["openvino", "torch"])
def test_the_mean_of_each_map_and_the_bias_make_the_logit(bundle: Bundle, runtime: str) -> None:
    found = Classifier.load(bundle, runtime).classify(model_factories.picture(3))  # type: ignore[arg-type]
    bias = model_factories.network().classifier.bias.detach().half().float().numpy()
    np.testing.assert_allclose(found.maps.mean((1, 2)) + bias, found.logits, atol=1e-5)
    assert found.maps.shape == (14, 7, 7) and found.maps.dtype == np.float32 and found.seconds > 0


def test_outputs_that_were_not_trained_are_none_and_the_others_calibrated(bundle: Bundle) -> None:
    found = Classifier.load(bundle).classify(model_factories.picture())
    for label, probability, logit in zip(LABELS, found.probabilities, found.logits, strict=True):
        if label in model_factories.TRAINED:
            assert probability == pytest.approx(1 / (1 + np.exp(-(1.5 * logit - 0.25))), abs=1e-6)
        else:
            assert probability is None


def test_one_result_is_not_overwritten_by_the_next(bundle: Bundle) -> None:
    classifier = Classifier.load(bundle)
    first = classifier.classify(model_factories.picture(0))
    logits, maps = first.logits.copy(), first.maps.copy()
    second = classifier.classify(255 - model_factories.picture(0) // 2)
    assert np.array_equal(first.logits, logits) and np.array_equal(first.maps, maps)
    assert not np.array_equal(first.logits, second.logits)


def test_auto_takes_openvino_and_an_absent_runtime_is_named(bundle: Bundle) -> None:
    assert Classifier.load(bundle).runtime == "openvino"
    with pytest.raises(RuntimeUnavailableError, match="no_such_runtime is not installed"):
        Classifier.load(bundle, "no_such_runtime")  # type: ignore[arg-type]


@pytest.mark.parametrize("pixels", [np.zeros((224, 224), np.float32), np.zeros((1, 224, 224), np.uint8)])
def test_another_array_than_a_grey_picture_is_refused(bundle: Bundle, pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"a picture must be uint8 \[H, W\]"):
        Classifier.load(bundle).classify(pixels)


def test_a_picture_of_any_size_is_squashed_to_what_training_saw(bundle: Bundle) -> None:
    classifier, film = Classifier.load(bundle), model_factories.picture(6, (500, 380))
    expected = classifier.classify(to_uint8_224(film))
    assert np.array_equal(classifier.classify(film).logits, expected.logits)
    assert np.array_equal(classifier.classify(classifier.prepare(film)).maps, expected.maps)


def test_a_kept_network_gives_the_same_result_and_a_damaged_one_is_replaced(bundle: Bundle, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    pixels = model_factories.picture(4)
    expected = Classifier.load(bundle).classify(pixels).logits
    for _ in range(2):
        np.testing.assert_allclose(
            Classifier.load(bundle, cache_dir=cache).classify(pixels).logits, expected, atol=1e-5
        )
    (kept,) = cache.iterdir()
    damaged = bytearray(kept.read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    kept.write_bytes(damaged)
    found = Classifier.load(bundle, cache_dir=cache).classify(pixels).logits
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert list(cache.iterdir()) == [kept]
    assert kept.read_bytes() != bytes(damaged)


def test_serving_on_openvino_imports_neither_torch_nor_telemetry(bundle: Bundle) -> None:
    program = (
        "import sys, numpy; from pathlib import Path\n"
        "from model.bundle import load_bundle; from model.classifier import Classifier\n"
        "Classifier.load(load_bundle(Path(sys.argv[1]))).classify(numpy.zeros((224, 224), numpy.uint8))\n"
        "print('torch' in sys.modules, sys.modules.get('openvino_telemetry'))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, str(bundle.folder)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ended.stdout.split() == ["False", "None"]


def test_calibration_is_monotone_and_survives_extreme_logits() -> None:
    logits = np.array([-1e4, -5.0, 0.0, 5.0, 1e4])[:, None] * np.ones(14)
    found = Calibration.identity().probabilities(logits)
    np.testing.assert_allclose(found[:, 0], [0, 1 / (1 + np.e**5), 0.5, 1 / (1 + np.e**-5), 1], atol=1e-12)
