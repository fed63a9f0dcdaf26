from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import get_model

from model.bundle import load_bundle, read_weights
from model.classifier import Classifier
from training.fitting.weights_file import InitError
from training.heads.backbone import BackboneChoice, load_backbone
from training.heads.errors import HeadError

CPU = torch.device("cpu")
BUNDLE = Path(__file__).resolve().parents[3] / "model" / "bundles" / "phantom-densenet121"


def choice(name: str, init: str = "random", init_file: Path | None = None, size_px: int = 64) -> BackboneChoice:
    return BackboneChoice(name, init, init_file, size_px, seed=5)


def pictures(count: int, size_px: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, size_px, size_px), dtype=np.uint8)


@pytest.mark.parametrize(("name", "layer"), [("resnet18", "fc"), ("mobilenet_v3_small", "classifier.3")])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_features_are_what_the_last_layer_of_torchvisions_network_reads(
    tmp_path: Path, name: str, layer: str, suffix: str
) -> None:
    torch.manual_seed(3)
    theirs = get_model(name, weights=None).eval()
    path = tmp_path / f"weights.{suffix}"
    save_file(theirs.state_dict(), path) if suffix == "safetensors" else torch.save(theirs.state_dict(), path)
    read: list[torch.Tensor] = []
    theirs.get_submodule(layer).register_forward_pre_hook(lambda module, args: read.append(args[0]))
    grey = pictures(3, 64)
    # torchvision's documented normalisation of R, G and B, the grey level in all three.
    colours = torch.from_numpy(np.repeat(grey[:, None], 3, axis=1)) / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.inference_mode():
        theirs((colours - mean[:, None, None]) / std[:, None, None])
    backbone, _ = load_backbone(choice(name, "imagenet", path), CPU)
    np.testing.assert_allclose(backbone.features_of(grey), read[0].numpy(), atol=1e-5)


def test_a_resnet_50_gives_the_2048_features_of_the_source() -> None:
    backbone, weights = load_backbone(choice("resnet50"), CPU)
    assert backbone.features_of(pictures(1, 64)).shape == (1, 2048)
    assert load_backbone(choice("resnet50"), CPU)[1] == weights
    assert load_backbone(BackboneChoice("resnet50", "random", None, 64, seed=6), CPU)[1] != weights


def test_the_features_of_a_bundle_are_those_its_own_logits_are_made_of() -> None:
    bundle = load_bundle(BUNDLE)
    grey = pictures(2, 224)
    backbone, weights = load_backbone(choice(str(BUNDLE), size_px=224), CPU)
    assert weights == bundle.weights_sha256
    features = backbone.features_of(grey)
    assert features.shape == (2, 1024)
    weight, bias = (read_weights(bundle)[f"classifier.{name}"].astype(np.float32) for name in ("weight", "bias"))
    served = Classifier.load(bundle, "torch")
    for picture, row in zip(grey, features, strict=True):
        np.testing.assert_allclose(weight @ row + bias, served.classify(picture).logits, atol=1e-4)


def test_a_bundle_at_another_size_is_refused() -> None:
    with pytest.raises(HeadError, match="reads pictures of 224 px"):
        load_backbone(choice(str(BUNDLE), size_px=320), CPU)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HeadError, match="is not a model bundle"):
        load_backbone(choice(str(tmp_path)), CPU)


def test_without_imagenet_weights_the_stop_names_every_way_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # the discard port: nothing answers
    with pytest.raises(InitError) as caught:
        load_backbone(choice("resnet50", "imagenet"), CPU)
    assert all(part in str(caught.value) for part in ("--init FILE", "torchvision", "--init random", "--backbone"))


def test_files_that_are_not_this_networks_weights_are_refused(tmp_path: Path) -> None:
    other, broken = tmp_path / "other.pth", tmp_path / "broken.pth"
    torch.save(get_model("shufflenet_v2_x0_5", weights=None).state_dict(), other)
    broken.write_bytes(b"no weights")
    for path, expected in (
        (other, "not the weights of resnet18"),
        (broken, "cannot be read as a file of weights"),
        (tmp_path / "none.pth", "no such file"),
    ):
        with pytest.raises(InitError, match=expected):
            load_backbone(choice("resnet18", init_file=path), CPU)


def test_networks_that_are_not_there_or_have_no_features_are_refused() -> None:
    with pytest.raises(HeadError, match="did you mean 'resnet50'"):
        load_backbone(choice("resnet-50"), CPU)
    with pytest.raises(HeadError, match="does not end in a linear layer"):
        load_backbone(choice("squeezenet1_1"), CPU)
