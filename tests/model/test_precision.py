"""Half the precision in half the time: only with a bundle that was tried, on a processor that can, and said so."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import model_factories
import numpy as np
import pytest
from numpy.typing import NDArray

from model.bundle import Bundle, load_bundle, read_weights
from model.classifier import Classifier, RuntimeUnavailableError
from model.compiled_network import cpu_settings, processor_computes_bf16
from model.golden import verify_golden
from model.openvino_network import build_blocks, build_stem
from model.precision import FEWEST_PICTURES, MOST_AUROC_DIFFERENCE, MOST_CROSSINGS, MOST_DIFFERENCE, PrecisionTrial
from model.preprocess import normalise, to_uint8_224
from model.quiet_openvino import openvino
from model.served_precision import in_served_precision
from training.data.pictures import read_grey
from worker.care.check import check_everything
from worker.runs.workplace import load_model
from worker.settings.config import Settings

STARTER = Path(__file__).resolve().parents[2] / "model" / "bundles" / "nih-starter-densenet121"
needs_bf16 = pytest.mark.skipif(not processor_computes_bf16(), reason="this processor has no bf16 arithmetic")


def trial(**changes: Any) -> PrecisionTrial:
    """Return a trial at every limit."""
    fields: dict[str, Any] = {
        "pictures": FEWEST_PICTURES,
        "part": "some pictures",
        "processor": "a processor",
        "largest_difference": MOST_DIFFERENCE,
        "largest_auroc_difference": MOST_AUROC_DIFFERENCE,
        "crossings": round(1000 * MOST_CROSSINGS),
        "decisions": 1000,
    }
    return PrecisionTrial(**(fields | changes))


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return model_factories.bundle(tmp_path_factory.mktemp("tried") / "bundle", bf16=trial())


def test_a_trial_passes_at_its_limits_and_names_what_is_beyond_them() -> None:
    assert trial().obstacle == ""
    assert "fewer than 200" in trial(pictures=FEWEST_PICTURES - 1).obstacle
    assert "a probability by 0.0110" in trial(largest_difference=0.011).obstacle
    assert "an AUROC by 0.0060" in trial(largest_auroc_difference=0.006).obstacle
    assert "3 of 1000 decisions" in trial(crossings=3).obstacle


def test_a_bundle_keeps_its_trial_and_one_without_is_written_as_before(tried: Bundle, tmp_path: Path) -> None:
    assert load_bundle(tried.folder).bf16 == trial()
    untried = model_factories.bundle(tmp_path / "bundle")
    assert '"bf16"' not in (untried.folder / "bundle.json").read_text()
    assert untried.model_version == tried.model_version  # the trial decides no result


@pytest.mark.parametrize(
    ("bf16", "runtime", "why"),
    [
        (None, "auto", "never tried"),
        (trial(largest_difference=0.5), "auto", "did not pass its trial: it moves a probability by 0.5"),
        (trial(), "torch", "only the runtime openvino"),
        (trial(), "cuda", "only the runtime openvino"),
    ],
)
def test_a_bundle_is_served_in_float32_where_anything_speaks_against_less(
    tried: Bundle, bf16: PrecisionTrial | None, runtime: str, why: str
) -> None:
    served, obstacle = in_served_precision(dataclasses.replace(tried, bf16=bf16), "bf16", runtime)
    assert served.precision == "fp32"
    assert why in obstacle
    assert not served.model_version.endswith("bf16")


def test_float32_is_what_is_served_unless_asked_otherwise(tried: Bundle) -> None:
    assert in_served_precision(tried, "fp32", "auto") == (tried, "")
    assert Settings().precision == "fp32"


@needs_bf16
def test_less_precision_is_said_in_the_version_and_computed(tried: Bundle, tmp_path: Path) -> None:
    served, obstacle = in_served_precision(tried, "bf16", "auto")
    assert (obstacle, served.model_version) == ("", f"{tried.model_version}.bf16")
    pixels = model_factories.picture(5, (300, 260))
    exact, rounded = (
        Classifier.load(bundle, "openvino", tmp_path).classify(pixels).logits for bundle in (tried, served)
    )
    again = Classifier.load(served, "openvino", tmp_path).classify(pixels).logits  # from the kept network
    assert np.array_equal(rounded, again)
    assert 1e-6 < np.abs(exact - rounded).max() < 0.1
    assert len(list(tmp_path.glob("*.network"))) == 3, "one in float32, two where only the second is rounded"
    (golden,) = verify_golden(Classifier.load(served, "openvino"))
    assert (golden.tolerance, golden.passed) == (MOST_DIFFERENCE, True)


@needs_bf16
def test_grey_levels_meet_the_first_convolution_in_float32() -> None:
    """Rounding there as well moved a probability of the starter model beyond what its trial allows."""
    bundle = load_bundle(STARTER)
    pictures = [to_uint8_224(read_grey(path)) for path, _ in bundle.golden]
    exact, served = (Classifier.load(of, "openvino") for of in (bundle, bundle.served_in("bf16")))
    core, weights = openvino.Core(), read_weights(bundle)
    stem, blocks = (
        core.compile_model(build(weights, bundle), "CPU", cpu_settings("bf16")) for build in (build_stem, build_blocks)
    )
    logits = np.stack([exact.classify(picture).logits for picture in pictures])
    rounded = np.stack([served.classify(picture).logits for picture in pictures])
    all_rounded = np.concatenate([blocks(stem(normalise(picture[None]))[0])[0] for picture in pictures])
    assert 0 < 2 * rms(rounded - logits) < rms(all_rounded - logits)


def rms(values: NDArray[np.floating]) -> float:
    return float(np.sqrt((values**2).mean()))


def test_torch_does_not_pretend(tried: Bundle) -> None:
    with pytest.raises(RuntimeUnavailableError, match="bf16"):
        Classifier.load(tried.served_in("bf16"), "torch")


@needs_bf16
def test_a_worker_computes_as_configured_and_its_check_says_so(tried: Bundle, tmp_path: Path) -> None:
    settings = Settings(
        data_dir=tmp_path, bundles={"default": tried.folder}, precision="bf16", allow_demonstration_bundle=True
    )
    model = load_model(settings, "default")
    assert model.classifier.bundle.precision == "bf16"
    assert model.bundle.model_version.endswith(".bf16")
    assert model.bundle.model_version in checked_bundle(settings)


def test_a_worker_that_may_not_says_why(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    untried = model_factories.bundle(tmp_path / "bundle")
    settings = Settings(
        data_dir=tmp_path, bundles={"default": untried.folder}, precision="bf16", allow_demonstration_bundle=True
    )
    model = load_model(settings, "default")
    assert model.bundle.precision == "fp32"
    assert "bundle default computes in fp32: bf16 was never tried" in caplog.text
    assert "computes in fp32: bf16 was never tried" in checked_bundle(settings)


def checked_bundle(settings: Settings) -> str:
    """Return what `worker check` says of the default bundle."""
    return next(result.detail for result in check_everything(settings) if result.name == "model bundle default")
