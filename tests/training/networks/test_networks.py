from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models import resnet50

from model.densenet import DenseNet121Cam
from model.labels import LABELS
from model.preprocess import GREY_MEAN, GREY_STD, IMAGENET_MEAN, IMAGENET_STD
from training.networks.backbones import build_backbone
from training.networks.build import build_network, reasons_not_to_serve
from training.networks.finding_network import FindingNetwork
from training.networks.gradcam import grad_cam
from training.networks.inputs import NetworkInput
from training.networks.mobilenet import mobilenet_v1_features
from training.recipe import Recipe, parse_recipe

SIX = LABELS[:6]
STAGE = {"size_px": 64, "epochs": 1, "batch_size": 4, "learning_rate": 1e-3}


def _recipe(architecture: str = "densenet-tiny", **network: Any) -> Recipe:
    values = {"bundle_name": "trial", "init": "random", "architecture": architecture, "stages": [STAGE]}
    return parse_recipe({**values, "network": network}, "trial.toml")


def _network(architecture: str = "densenet-tiny", labels: tuple[str, ...] = SIX, **network: Any) -> FindingNetwork:
    torch.manual_seed(1)
    built = build_network(_recipe(architecture, **network), labels, (0.5, 0.25))
    assert isinstance(built, FindingNetwork)
    return built.eval()


def _pictures(count: int = 2, size_px: int = 64) -> torch.Tensor:
    return torch.randn(count, 1, size_px, size_px, generator=torch.Generator().manual_seed(3))


def _seen(levels: torch.Tensor, channels: int, kind: Any) -> torch.Tensor:
    seen: torch.Tensor = NetworkInput(channels, kind, (0.511, 0.257))((levels - GREY_MEAN) / GREY_STD)
    return seen


def test_every_normalisation_is_that_of_the_grey_levels() -> None:
    levels = torch.rand(3, 1, 8, 8)
    assert torch.allclose(_seen(levels, 3, "dataset"), ((levels - 0.511) / 0.257).expand(-1, 3, -1, -1), atol=1e-5)
    mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    assert torch.allclose(_seen(levels, 3, "imagenet"), (levels - mean) / deviation, atol=1e-5)
    assert torch.allclose(_seen(levels, 1, "imagenet"), (levels - 0.449) / 0.226, atol=1e-5)
    own = _seen(levels, 1, "samplewise")
    assert torch.allclose(own.mean((1, 2, 3)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(own.std((1, 2, 3)), torch.ones(3), atol=1e-5)
    assert bool(torch.isfinite(_seen(torch.full((1, 1, 8, 8), 0.3), 1, "samplewise")).all())


def test_mobilenet_v1_has_the_published_number_of_weights() -> None:
    """4,231,976 with 1,000 classes (Keras' summary; "4.2 million" in the paper), less those classes' 1,025,000."""
    features = mobilenet_v1_features(3)
    assert sum(p.numel() for p in features.parameters()) == 4_231_976 - 1_025_000
    assert features(torch.zeros(2, 3, 224, 224)).shape == (2, 1024, 7, 7)


def test_the_resnet_is_torchvisions() -> None:
    theirs = resnet50(weights=None).eval()
    ours = _network("resnet50")
    ours.features.load_state_dict({k: v for k, v in theirs.state_dict().items() if not k.startswith("fc.")})
    x, seen = _pictures(), {}
    theirs.avgpool.register_forward_pre_hook(lambda _, arguments: seen.update(features=arguments[0]))
    theirs(x.expand(-1, 3, -1, -1))
    assert torch.allclose(ours.feature_map(x), seen["features"], atol=1e-5)


@pytest.mark.parametrize(("stride", "cells"), [(32, 2), (16, 4), (8, 8)])
def test_a_smaller_stride_gives_finer_maps(stride: int, cells: int) -> None:
    assert _network("resnet50", map_stride_px=stride)(_pictures())[1].shape == (2, 6, cells, cells)


def test_a_densenet_of_other_classes_computes_what_the_served_one_does() -> None:
    served = DenseNet121Cam(architecture="densenet-tiny").eval()
    ours = _network(labels=SIX)
    ours.features.load_state_dict(served.features.state_dict())
    with torch.no_grad():
        ours.classifier.weight.copy_(served.classifier.weight[:6])
        ours.classifier.bias.copy_(served.classifier.bias[:6])
        expected_logits, expected_maps = served(_pictures())
        logits, maps = ours(_pictures())
    assert torch.allclose(logits, expected_logits[:, :6], atol=1e-6)
    assert torch.allclose(maps, expected_maps[:, :6], atol=1e-6)


def test_log_sum_exp_pooling_lies_between_mean_and_maximum_and_moves_with_its_sharpness() -> None:
    logits = {}
    for name, choices in {
        "mean": {},
        "flat": {"pooling": "lse", "lse_sharpness": 1e-3},
        "between": {"pooling": "lse"},
        "sharp": {"pooling": "lse", "lse_sharpness": 1e4},
        "max": {"pooling": "max"},
    }.items():
        network = _network(**choices)
        nn.init.ones_(network.classifier.weight)  # so that the logit is the sum of the pooled features
        logits[name] = float(network(_pictures(1))[0][0, 0].detach())
    assert logits["flat"] == pytest.approx(logits["mean"], rel=1e-2)
    assert logits["sharp"] == pytest.approx(logits["max"], rel=1e-2)
    assert logits["mean"] < logits["between"] < logits["max"]


def test_facts_beside_the_picture_move_the_logits_and_are_asked_for() -> None:
    network = _network(metadata=["age", "sex"])
    young, old = torch.tensor([[0.1, 1.0]]), torch.tensor([[0.9, 1.0]])
    assert not torch.equal(network(_pictures(1), young)[0], network(_pictures(1), old)[0])
    assert torch.equal(network(_pictures(1), young)[1], network(_pictures(1), old)[1])
    with pytest.raises(ValueError, match="age, sex"):
        network(_pictures(1))


def test_the_output_that_is_a_probability_itself_stays_finite() -> None:
    network = _network("cnn-2", channels=1, pooling="flatten", output="relu")
    with torch.no_grad():
        network.classifier.weight.zero_()
        network.classifier.bias.copy_(torch.tensor([-1.0, 0.0, 0.25, 0.5, 1.0, 7.0]))
        probabilities = torch.sigmoid(network(_pictures())[0])[0]
    expected = torch.tensor([0.0, 0.0, 0.25, 0.5, 1.0, 1.0])
    assert torch.allclose(probabilities, expected, atol=1e-5)


@pytest.mark.parametrize("architecture", ["cnn-1", "cnn-2", "mobilenet-v1", "resnet18"])
def test_networks_with_a_deeper_head_have_no_maps_but_grad_cam_has(architecture: str) -> None:
    pooling = "flatten" if architecture.startswith("cnn") else "mean"
    network = _network(architecture, channels=1, hidden=[16], dropout=0.5, pooling=pooling)
    logits, maps = network(_pictures())
    assert maps.shape == (2, 6, 0, 0)
    again, heat = grad_cam(network, _pictures())
    assert torch.allclose(again, logits, atol=1e-6)
    assert heat.shape[:2] == (2, 6)
    assert float(heat.min()) >= 0


def test_grad_cam_of_a_pooled_network_is_its_class_map_up_to_a_factor() -> None:
    """Selvaraju 2017, section 3.1: the gradient's mean over the cells is the classifier's row, over the cells."""
    network = _network()
    _, maps = network(_pictures())
    _, heat = grad_cam(network, _pictures())
    cells = maps.shape[-1] ** 2
    assert torch.allclose(heat * cells, maps.relu(), atol=1e-5)


def test_pictures_of_one_batch_do_not_touch_each_others_grad_cam() -> None:
    network = _network("resnet18", hidden=[8])
    _, both = grad_cam(network, _pictures(2))
    _, first = grad_cam(network, _pictures(2)[:1])
    assert torch.allclose(both[:1], first, atol=1e-6)


def test_what_can_be_served_is_the_served_network_itself() -> None:
    assert reasons_not_to_serve(_recipe(), LABELS) == []
    assert isinstance(build_network(_recipe(normalisation="imagenet", freeze=True)), DenseNet121Cam)
    for recipe, labels, word in [
        (_recipe("resnet18"), LABELS, "resnet18"),
        (_recipe(), SIX, "6 classes"),
        (_recipe(normalisation="dataset"), LABELS, "normalised by dataset"),
        (_recipe(pooling="lse"), LABELS, "pooling"),
        (_recipe(metadata=["age"]), LABELS, "metadata"),
    ]:
        assert word in "; ".join(reasons_not_to_serve(recipe, labels))


def test_the_backbone_of_one_channel_takes_one() -> None:
    for architecture in ("densenet-tiny", "resnet18", "resnet50", "mobilenet-v1", "cnn-1", "cnn-2"):
        backbone = build_backbone(architecture, 1)
        assert backbone.layers(torch.zeros(2, 1, 64, 64)).shape[:2] == (2, backbone.features)
