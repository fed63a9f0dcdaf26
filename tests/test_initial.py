from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import densenet121

from training.fitting.initial import InitError, initial_network
from training.recipe import load_recipe

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


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"layer1.weight": torch.zeros(3)}, path)
    with pytest.raises(InitError, match="not the weights of this DenseNet"):
        initial_network(load_recipe("densenet121"), path, PREVALENCE)


def test_random_weights_depend_on_the_seed_alone() -> None:
    recipe = load_recipe("phantom").model_copy(update={"architecture": "densenet-tiny"})
    first, second = (initial_network(recipe, None, PREVALENCE).state_dict() for _ in range(2))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    other = initial_network(recipe.model_copy(update={"seed": 1}), None, PREVALENCE).state_dict()
    assert not torch.equal(first["features.conv0.weight"], other["features.conv0.weight"])
