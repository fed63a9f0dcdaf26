from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from bundles import write_test_bundle
from safetensors.torch import save_file
from torchvision.models import densenet121, resnet18

from model.bundle import read_weights
from training.fitting.initial import initial_network, origin_of
from training.fitting.weights_file import InitError
from training.networks.finding_network import FindingNetwork
from training.recipe import Network, Recipe, load_recipe

TINY = load_recipe("phantom").model_copy(update={"architecture": "densenet-tiny"})
PREVALENCE = np.full(14, 0.1, np.float32)


def test_without_imagenet_weights_the_stop_names_both_ways_and_random(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # the discard port: nothing answers
    with pytest.raises(InitError) as caught:
        initial_network(load_recipe("densenet121"), None, PREVALENCE)
    assert all(part in str(caught.value) for part in ("--init FILE", "torchvision", "--init random"))
    with pytest.raises(InitError, match="no such file"):
        initial_network(load_recipe("densenet121"), tmp_path / "weights.pth", PREVALENCE)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_file_of_torchvision_weights_is_taken_over_but_for_the_classifier(tmp_path: Path, suffix: str) -> None:
    torch.manual_seed(9)
    theirs = densenet121(weights=None).state_dict()
    old = {name.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): value for name, value in theirs.items()}
    path = tmp_path / f"weights.{suffix}"
    torch.save(old, path) if suffix == "pth" else save_file(theirs, path)
    ours = initial_network(load_recipe("densenet121"), path, PREVALENCE).state_dict()
    features = [name for name in theirs if name.startswith("features.")]
    assert all(torch.equal(ours[name], theirs[name]) for name in features)
    assert ours["classifier.weight"].shape == (14, 1024)
    assert torch.allclose(torch.sigmoid(ours["classifier.bias"]), torch.full((14,), 0.1))


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
def test_a_bundle_is_started_from_with_its_own_or_a_new_classifier(tmp_path: Path, packed: bool) -> None:
    bundle = write_test_bundle(tmp_path / "bundle")
    place = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", bundle.folder)) if packed else bundle.folder
    weights = read_weights(bundle)
    anew = initial_network(TINY, place, PREVALENCE).state_dict()
    assert np.array_equal(anew["features.conv0.weight"].numpy(), weights["features.conv0.weight"].astype(np.float32))
    assert torch.allclose(torch.sigmoid(anew["classifier.bias"]), torch.full((14,), 0.1))
    same = TINY.model_copy(update={"init_head": "weights"})
    going_on = initial_network(same, place, PREVALENCE).state_dict()
    for name, values in weights.items():
        assert np.array_equal(going_on[name].numpy(), values.astype(np.float32)), name


def test_where_the_weights_come_from_is_known_by_hash(tmp_path: Path) -> None:
    bundle = write_test_bundle(tmp_path / "bundle")
    origin = origin_of(TINY, bundle.folder)
    assert origin.sha256 == hashlib.sha256(bundle.weights_path.read_bytes()).hexdigest()
    assert bundle.name in str(origin)
    assert origin.sha256 in str(origin)
    assert origin_of(TINY, bundle.weights_path).sha256 == origin.sha256
    assert origin_of(TINY, None).sha256 is None


def test_a_damaged_bundle_and_a_classifier_of_nowhere_are_refused(tmp_path: Path) -> None:
    bundle = write_test_bundle(tmp_path / "bundle")
    bundle.weights_path.write_bytes(b"damaged")
    for attempt in (initial_network, lambda recipe, path, _: origin_of(recipe, path)):
        with pytest.raises(InitError, match="altered or damaged"):
            attempt(TINY, bundle.folder, PREVALENCE)
    with pytest.raises(InitError, match="init_head"):
        initial_network(TINY.model_copy(update={"init_head": "weights"}), None, PREVALENCE)


def test_weights_of_another_shape_are_refused_in_one_sentence(tmp_path: Path) -> None:
    bundle = write_test_bundle(tmp_path / "bundle")
    with pytest.raises(InitError, match="not the weights of this densenet") as caught:
        initial_network(load_recipe("phantom"), bundle.folder, PREVALENCE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("content", [b"", b"junk\n", b"PK\x03\x04 cut", b"\x80\x02K"])
def test_a_damaged_file_of_weights_is_named_with_what_to_do(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"weights.{suffix}"
    path.write_bytes(content)
    with pytest.raises(InitError, match=rf"weights\.{suffix} cannot be read as a file of weights; fetch it again"):
        initial_network(load_recipe("densenet121"), path, PREVALENCE)


def test_weights_under_state_dict_are_taken_and_what_holds_none_is_refused(tmp_path: Path) -> None:
    torch.manual_seed(9)
    theirs = densenet121(weights=None).state_dict()
    torch.save({"epoch": 3, "state_dict": theirs}, tmp_path / "wrapped.pth")
    ours = initial_network(load_recipe("densenet121"), tmp_path / "wrapped.pth", PREVALENCE).state_dict()
    assert torch.equal(ours["features.conv0.weight"], theirs["features.conv0.weight"])
    for content in ([1, 2], {}, {"epoch": 3}):
        torch.save(content, tmp_path / "other.pth")
        with pytest.raises(InitError, match="holds no state dict"):
            initial_network(load_recipe("densenet121"), tmp_path / "other.pth", PREVALENCE)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"layer1.weight": torch.zeros(3)}, path)
    with pytest.raises(InitError, match="not the weights of this densenet"):
        initial_network(load_recipe("densenet121"), path, PREVALENCE)


def test_random_weights_depend_on_the_seed_alone() -> None:
    recipe = load_recipe("phantom").model_copy(update={"architecture": "densenet-tiny"})
    first, second = (initial_network(recipe, None, PREVALENCE).state_dict() for _ in range(2))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    other = initial_network(recipe.model_copy(update={"seed": 1}), None, PREVALENCE).state_dict()
    assert not torch.equal(first["features.conv0.weight"], other["features.conv0.weight"])


def _recipe_of(architecture: str, **choices: object) -> Recipe:
    update = {"architecture": architecture, "box_weight": 0.0, "network": Network.model_validate(choices)}
    return load_recipe("phantom").model_copy(update=update)


def test_torchvisions_resnet_file_is_taken_over_and_one_channel_sees_what_three_equal_ones_did(tmp_path: Path) -> None:
    torch.manual_seed(9)
    theirs = resnet18(weights=None)
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    colour, grey = (
        initial_network(_recipe_of("resnet18", channels=channels), tmp_path / "weights.pth", PREVALENCE).eval()
        for channels in (3, 1)
    )
    assert torch.equal(colour.state_dict()["features.layer4.1.conv2.weight"], theirs.layer4[1].conv2.weight)
    x = torch.randn(2, 1, 64, 64)
    assert isinstance(colour, FindingNetwork)
    assert isinstance(grey, FindingNetwork)
    assert torch.allclose(colour.feature_map(x), grey.feature_map(x), atol=1e-4)


def test_a_network_without_published_weights_says_so() -> None:
    recipe = _recipe_of("mobilenet-v1").model_copy(update={"init": "imagenet"})
    with pytest.raises(InitError, match="torchvision has no ImageNet weights of mobilenet-v1"):
        initial_network(recipe, None, PREVALENCE)


def test_an_output_that_is_a_probability_itself_starts_at_the_prevalence() -> None:
    network = initial_network(_recipe_of("cnn-2", channels=1, output="relu"), None, PREVALENCE)
    assert torch.allclose(network.classifier.bias, torch.full((14,), 0.1))
