"""A published checkpoint becomes a bundle that says and computes what its authors' own code does.

The yardstick is built by hand from torchvision alone: its DenseNet with the saved tensors, its transforms on the
picture in colour, the authors' way of averaging. The weights are random; the published files are not at hand.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import as_torchxrayvision, hollow_densenet121, of_2017, save, torchvision_densenet121, with_sigmoid
from numpy.typing import NDArray
from PIL import Image
from slow_cases import mostly_slow
from torchvision import transforms
from torchvision.models.densenet import DenseNet
from typer.testing import CliRunner

from model.bundle import Bundle, load_bundle, read_weights
from model.calibration import op_norm
from model.checkpoint import CheckpointError
from model.classifier import Classifier
from model.cli import app
from model.golden import verify_golden
from model.importing import import_checkpoint
from model.labels import LABELS
from model.preprocess import levels
from model.published import PUBLISHED
from model.runtimes import with_torch
from model.torchxrayvision import OUTPUTS, WEIGHT_SETS

runner = CliRunner()
NIH_FILE = "nih-densenet121-d121-tw-lr001-rot45-tr15-sc15-seed0-best.pt"
COLOURS = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
Picture = NDArray[np.uint8]


def film(seed: int = 0, shape: tuple[int, int] = (413, 331)) -> Picture:
    """Soft seeded clouds, no square, so that every crop and mirror image differs; crop offsets end in a half."""
    coarse = np.random.default_rng(seed).integers(0, 256, (14, 11), dtype=np.uint8)
    return np.array(Image.fromarray(coarse).resize(shape[::-1], Image.Resampling.BICUBIC))


def in_colour(picture: Picture) -> Image.Image:
    return Image.fromarray(picture).convert("RGB")


def ten_crops(picture: Picture) -> torch.Tensor:
    """arnoweng's and zoogzog's test protocol."""
    crops = transforms.Compose([transforms.Resize(256), transforms.TenCrop(224)])(in_colour(picture))
    return torch.stack([COLOURS(transforms.ToTensor()(crop)) for crop in crops])


def short_side_and_centre(picture: Picture) -> torch.Tensor:
    """Zech's."""
    steps = [transforms.Resize(224), transforms.CenterCrop(224), transforms.ToTensor(), COLOURS]
    return transforms.Compose(steps)(in_colour(picture))[None]


def square_and_centre(picture: Picture) -> torch.Tensor:
    """thtang's."""
    steps = [transforms.Resize((256, 256)), transforms.CenterCrop(224), transforms.ToTensor(), COLOURS]
    return transforms.Compose(steps)(in_colour(picture))[None]


def bicubic_and_centre(picture: Picture) -> torch.Tensor:
    """Medical-MAE's and EVA-X's, with their statistics of chest radiographs."""
    resize = transforms.Resize(256, interpolation=transforms.InterpolationMode.BICUBIC)
    statistics = transforms.Normalize((0.5056, 0.5056, 0.5056), (0.252, 0.252, 0.252))
    return transforms.Compose([resize, transforms.CenterCrop(224), transforms.ToTensor(), statistics])(
        in_colour(picture)
    )[None]


def one_channel_in_1024(picture: Picture) -> torch.Tensor:
    """torchxrayvision's, on the centre square: (2 x / 255 - 1) * 1024."""
    height, width = picture.shape
    side = min(height, width)
    top, left = height // 2 - side // 2, width // 2 - side // 2
    square = Image.fromarray(picture[top : top + side, left : left + side]).resize(
        (224, 224), Image.Resampling.BILINEAR
    )
    return torch.from_numpy((2 * (np.array(square).astype(np.float32) / 255) - 1.0) * 1024)[None, None]


def whole_picture(picture: Picture) -> torch.Tensor:
    """The whole picture squashed, in ImageNet's colours."""
    steps = [transforms.Resize((224, 224)), transforms.ToTensor(), COLOURS]
    return transforms.Compose(steps)(in_colour(picture))[None]


@dataclass(frozen=True)
class Source:
    """One way in."""

    save: Callable[[DenseNet, Path], Path]
    prepare: Callable[[Picture], torch.Tensor]
    outputs: tuple[str, ...] = LABELS
    channels: int = 3
    named: str | None = None
    """``--published``, where the file's layout does not tell."""
    file_name: str = "checkpoint"

    def network(self) -> DenseNet:
        """The network that the authors are taken to have trained."""
        network = torchvision_densenet121(len(self.outputs), self.channels)
        if self.channels == 1:  # as large as inputs of +-1024 make them, beyond float16
            network.features.norm0.running_var.mul_(1e6)
        return network


def save_2017(network: DenseNet, path: Path) -> Path:
    return save({"state_dict": of_2017(network.state_dict()), "best_loss": 0.1}, path, legacy=True)


def save_bare_2017(network: DenseNet, path: Path) -> Path:
    return save(of_2017(network.state_dict()), path, legacy=True)


def save_whole(network: DenseNet, path: Path) -> Path:
    return save({"model": with_sigmoid(network), "epoch": 3}, path, legacy=False)


def save_state(network: DenseNet, path: Path) -> Path:
    return save({"model": network.state_dict()}, path, legacy=False)


def save_torchxrayvision(network: DenseNet, path: Path) -> Path:
    with as_torchxrayvision():
        return save(network, path, legacy=True)


SOURCES = {
    "arnoweng": Source(save_2017, ten_crops),
    "zoogzog": Source(save_2017, ten_crops, named="zoogzog"),
    "zech": Source(save_whole, short_side_and_centre),
    "thtang": Source(save_bare_2017, square_and_centre, outputs=LABELS[:8]),
    "medical-mae": Source(save_state, bicubic_and_centre, named="medical-mae"),
    "eva-x": Source(save_state, bicubic_and_centre, named="eva-x"),
    "torchxrayvision": Source(
        save_torchxrayvision, one_channel_in_1024, outputs=OUTPUTS, channels=1, file_name=NIH_FILE
    ),
    "plain": Source(save_state, whole_picture, named="plain"),
}
PROTOCOLS = [key for key in SOURCES if key not in ("zoogzog", "eva-x")]  # which repeat arnoweng's and Medical-MAE's
TELLING = ("arnoweng", "thtang", "torchxrayvision")
"""Ten crops, other outputs, another colour: the sources whose networks run by default."""
TOLERANCES = {"torch": 1e-6, "openvino": 1e-4}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Bundle]:
    """Each source's bundle, imported when a test first asks for it."""
    made: dict[str, Bundle] = {}

    def bundle(key: str) -> Bundle:
        if key not in made:
            folder, source = tmp_path_factory.mktemp(key), SOURCES[key]
            file = source.save(source.network(), folder / source.file_name)
            made[key] = import_checkpoint(file, folder / "made", name=key, version="1.0.0", published=source.named)
        return made[key]

    return bundle


@pytest.mark.parametrize("key", mostly_slow(SOURCES, *TELLING))
@pytest.mark.parametrize("shape", mostly_slow([(413, 331), (300, 449)], (413, 331)))
def test_logits_equal_a_hand_built_torchvision_model_bit_by_bit(
    bundles: Callable[[str], Bundle], key: str, shape: tuple[int, int]
) -> None:
    bundle, source, picture = bundles(key), SOURCES[key], film(1, shape)
    with torch.inference_mode():
        expected = source.network()(source.prepare(picture))
    views = Classifier(bundle, "torch", lambda tensor: (tensor, tensor)).prepare(picture)
    found, _ = with_torch(bundle, read_weights(bundle))(levels(views.pixels))
    rows = [LABELS.index(output) for output in source.outputs if output in LABELS]
    columns = [source.outputs.index(LABELS[row]) for row in rows]
    if len(source.outputs) == len(LABELS):
        assert np.array_equal(found[:, rows], expected.numpy()[:, columns])
    else:  # another number of rows is multiplied in another order
        np.testing.assert_allclose(found[:, rows], expected.numpy()[:, columns], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "case",
    mostly_slow(
        itertools.product(PROTOCOLS, TOLERANCES),
        ("arnoweng", "openvino"),
        ("thtang", "torch"),
        ("torchxrayvision", "torch"),
        ("torchxrayvision", "openvino"),
    ),
    ids="-".join,
)
def test_probabilities_are_the_authors_own_on_both_runtimes(
    bundles: Callable[[str], Bundle], case: tuple[str, str]
) -> None:
    key, runtime = case
    bundle, source, picture = bundles(key), SOURCES[key], film(2)
    with torch.inference_mode():
        sigmoids = torch.sigmoid(source.network()(source.prepare(picture)).double()).mean(0).numpy()
    found = Classifier.load(bundle, runtime).classify(picture).probabilities  # type: ignore[arg-type]
    assert [probability is not None for probability in found] == [label in source.outputs for label in LABELS]
    for label, probability in zip(LABELS, found, strict=True):
        if probability is None:
            continue
        expected, steepness = sigmoids[source.outputs.index(label)], 1.0
        if key == "torchxrayvision":
            t = WEIGHT_SETS["nih"].op_threshs[OUTPUTS.index(label)] or 0.0
            expected = expected / (t * 2) if expected < t else 1 - (1 - expected) / ((1 - t) * 2)
            steepness = 1 / (t * 2)  # op_norm magnifies small probabilities and their differences
        assert probability == pytest.approx(expected, abs=TOLERANCES[runtime] * steepness)


@pytest.mark.parametrize("key", PROTOCOLS)
@pytest.mark.parametrize("shape", [(413, 331), (300, 449)])
def test_every_window_lies_where_its_view_was_cut(
    bundles: Callable[[str], Bundle], key: str, shape: tuple[int, int]
) -> None:
    picture = film(3, shape)
    preparation = bundles(key).preparation
    assert preparation is not None
    views = preparation.views(picture)
    height, width = shape
    if preparation.resize == "square-crop":
        field = picture
    else:
        side = preparation.resize_px
        size = (side, side)
        if preparation.resize == "short-side":
            size = (side, int(side * height / width)) if width < height else (int(side * width / height), side)
        kernel = Image.Resampling.BICUBIC if preparation.filter == "bicubic" else Image.Resampling.BILINEAR
        field = np.array(Image.fromarray(picture).resize(size, kernel))
    assert len(views.pixels) == len(views.windows) == {"arnoweng": 10}.get(key, 1)
    for view, window in zip(views.pixels, views.windows, strict=True):
        rows = slice(round(window.top * field.shape[0]), round(window.bottom * field.shape[0]))
        columns = slice(round(window.left * field.shape[1]), round(window.right * field.shape[1]))
        part = field[rows, columns][:, :: -1 if window.mirrored else 1]
        if preparation.resize == "square-crop":
            part = np.array(Image.fromarray(np.ascontiguousarray(part)).resize((224, 224), Image.Resampling.BILINEAR))
        assert np.array_equal(view, part)


@pytest.mark.parametrize("key", mostly_slow(PROTOCOLS, "thtang", "torchxrayvision"))
def test_golden_images_prove_an_imported_bundle_and_fail_when_prepared_otherwise(
    bundles: Callable[[str], Bundle], key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = Classifier.load(bundles(key))
    assert all(result.passed for result in verify_golden(classifier))
    other = PUBLISHED["zech" if key == "plain" else "plain"].preparation
    assert other is not None
    monkeypatch.setattr(classifier, "prepare", other.views)
    assert not all(result.passed for result in verify_golden(classifier))


def test_maps_of_crops_cover_the_whole_picture_and_are_dark_where_nothing_was_shown(
    bundles: Callable[[str], Bundle],
) -> None:
    found = Classifier.load(bundles("zech")).classify(film(4, (448, 224))).maps  # the middle half of the height is seen
    assert found.shape == (14, 28, 28)
    assert not found[:, :7].any() and not found[:, 21:].any()
    assert np.abs(found[:, 7:21]).min(axis=(1, 2)).all()


def test_a_mirrored_film_has_mirrored_maps_with_ten_crops(bundles: Callable[[str], Bundle]) -> None:
    classifier, picture = Classifier.load(bundles("arnoweng")), film(5, (300, 400))
    upright, mirrored = (classifier.classify(np.ascontiguousarray(p)) for p in (picture, picture[:, ::-1]))
    np.testing.assert_allclose(mirrored.maps[:, :, ::-1], upright.maps, atol=0.02 * float(np.abs(upright.maps).max()))
    np.testing.assert_allclose(mirrored.probabilities, upright.probabilities, atol=1e-4)


def test_weights_stay_what_the_authors_published_beyond_the_range_of_float16(
    bundles: Callable[[str], Bundle],
) -> None:
    weights, network = read_weights(bundles("torchxrayvision")), SOURCES["torchxrayvision"].network()
    variance = network.features.norm0.running_var.numpy()
    assert variance.max() > np.finfo(np.float16).max
    assert np.array_equal(weights["features.norm0.running_var"], variance)
    assert weights["features.conv0.weight"].shape == (64, 1, 7, 7)
    for row, label in enumerate(LABELS):
        expected = network.classifier.weight.detach().numpy()[OUTPUTS.index(label)]
        assert np.array_equal(weights["classifier.weight"][row], expected)


def test_the_nih_thresholds_are_those_of_the_design_page(bundles: Callable[[str], Bundle]) -> None:
    """training.md, section 7, in its order and to its three digits."""
    page = {
        "Atelectasis": 0.0391,
        "Consolidation": 0.00345,
        "Infiltration": 0.1140,
        "Pneumothorax": 0.00573,
        "Edema": 0.000457,
        "Emphysema": 0.00189,
        "Fibrosis": 0.0120,
        "Effusion": 0.0387,
        "Pneumonia": 0.00372,
        "Pleural_Thickening": 0.0147,
        "Cardiomegaly": 0.0161,
        "Nodule": 0.0542,
        "Mass": 0.0372,
        "Hernia": 0.000440,
    }
    thresholds = bundles("torchxrayvision").calibration.op_threshs
    assert thresholds is not None
    for label, value in page.items():
        assert thresholds[LABELS.index(label)] == pytest.approx(value, rel=4e-3)
    assert tuple(page) == OUTPUTS[:14]


def test_op_norm_is_a_half_at_the_threshold_and_keeps_the_ends() -> None:
    thresholds = (0.01, None) + (0.2,) * 12
    found = op_norm(np.array([[0.0] * 14, [0.01] + [0.2] * 13, [1.0] * 14]), thresholds)
    assert found[:, 0].tolist() == [0, 0.5, 1]
    assert found[:, 1].tolist() == [0.5, 0.5, 0.5]
    assert found[:, 2].tolist() == [0, 0.5, 1]


@pytest.mark.parametrize(
    ("weight_set", "untrained"),
    [
        ("all", set()),
        ("nih", set()),
        ("pc", set()),
        ("chex", {"Infiltration", "Emphysema", "Fibrosis", "Pleural_Thickening", "Nodule", "Mass", "Hernia"}),
        ("mimic_ch", {"Infiltration", "Emphysema", "Fibrosis", "Pleural_Thickening", "Nodule", "Mass", "Hernia"}),
        ("rsna", set(LABELS) - {"Pneumonia"}),
    ],
)
def test_each_weight_set_trained_the_outputs_its_authors_name(weight_set: str, untrained: set[str]) -> None:
    trained = dict(zip(OUTPUTS, WEIGHT_SETS[weight_set].op_threshs, strict=True))
    assert {label for label in LABELS if trained[label] is None} == untrained


def test_findings_that_were_not_trained_are_unknown_and_have_no_threshold(tmp_path: Path) -> None:
    source = SOURCES["torchxrayvision"]
    file = source.save(source.network(), tmp_path / "renamed.pt")
    made = import_checkpoint(file, tmp_path / "made", name="chex", version="1.0.0", weight_set="chex")
    found = dict(zip(LABELS, Classifier.load(made).classify(film()).probabilities, strict=True))
    assert found["Hernia"] is None and found["Effusion"] is not None
    assert "Hernia" not in made.operating_points and "Effusion" in made.operating_points
    assert made.trained_on.seen_official_test is False
    assert "Not trained, reported as unknown, never flagged: Infiltration, Mass, Nodule" in made.card_path.read_text()


def test_an_imported_bundle_says_what_is_unknown_and_warns_of_the_leak(bundles: Callable[[str], Bundle]) -> None:
    made = bundles("arnoweng")
    assert made.metrics == {"selection": "unknown"} and made.trained_on.list_sha256 is None
    assert made.trained_on.seen_official_test is True
    assert set(made.calibration.a) == {1.0} and set(made.calibration.b) == {0.0}
    assert {point.chosen_by for point in made.operating_points.values()} == {
        "not chosen: imported, fit it on local data"
    }
    card = made.card_path.read_text()
    for text in ("NOT FOR DIAGNOSTIC USE", "Never score them on that list", "Not calibrated", "short-side256-ten224"):
        assert text in card
    assert load_bundle(made.folder).imported == made.imported


def test_two_ways_of_showing_pictures_are_two_model_versions(bundles: Callable[[str], Bundle]) -> None:
    crops, whole = bundles("arnoweng"), bundles("plain")
    assert crops.weights_sha256 == whole.weights_sha256
    assert crops.model_version != whole.model_version


def test_compiled_networks_of_two_preparations_are_kept_apart(bundles: Callable[[str], Bundle], tmp_path: Path) -> None:
    for key in ("medical-mae", "plain"):
        classifier = Classifier.load(bundles(key), "openvino", cache_dir=tmp_path)
        assert all(result.passed for result in verify_golden(classifier))
    assert len(list(tmp_path.iterdir())) == 2


def test_a_checkpoint_of_our_own_is_read_as_we_train(tmp_path: Path) -> None:
    file = save_state(torchvision_densenet121(), tmp_path / "own.pth")
    made = import_checkpoint(file, tmp_path / "made", name="own", version="1.0.0", published="own")
    assert (made.preparation, made.input_channels) == (None, "grey")
    assert made.preprocessing == "squash224-bilinear-imagenet-v1"
    assert all(result.passed for result in verify_golden(Classifier.load(made)))


@pytest.mark.parametrize(
    ("outputs", "channels", "published", "weight_set", "message"),
    [
        (14, 3, None, None, r"has 14 outputs and 3 input channels, and nothing in it tells .* --published \(arnoweng"),
        (15, 3, None, None, "has 15 outputs and 3 input channels, and nothing in it tells"),
        (15, 3, "plain", None, "has 15 outputs and 3 input channels; the network of plain has 14 and 3"),
        (14, 3, "thtang", None, "the network of thtang has 8 and 3"),
        (14, 1, "zech", None, "has 14 outputs and 1 input channels; the network of zech has 14 and 3"),
        (18, 1, None, None, r"m\.pt is not a name under which torchxrayvision .* --weight-set \(all, nih"),
        (18, 3, "torchxrayvision", "nih", "the network of torchxrayvision has 18 and 1"),
        (14, 3, "plain", "nih", "a weight set belongs to torchxrayvision's files, not to plain's"),
    ],
)
def test_a_network_that_is_not_what_it_is_said_to_be_is_refused(
    tmp_path: Path, outputs: int, channels: int, published: str | None, weight_set: str | None, message: str
) -> None:
    file = save_state(hollow_densenet121(outputs, channels), tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match=message):
        import_checkpoint(
            file, tmp_path / "made", name="m", version="1.0.0", published=published, weight_set=weight_set
        )
    assert [path.name for path in tmp_path.iterdir()] == ["m.pt"]


def test_the_command_says_what_was_dropped_and_what_to_beware_of(tmp_path: Path) -> None:
    source = SOURCES["torchxrayvision"]
    source.save(source.network(), tmp_path / NIH_FILE)
    arguments = ["import", str(tmp_path / NIH_FILE), str(tmp_path / "made"), "--name", "xrv-nih"]
    done = runner.invoke(app, arguments, env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    for text in (
        "network of torchxrayvision; input square-crop224-whole224-bilinear-v1",
        "Lung Lesion, Fracture, Lung Opacity, Enlarged Cardiomediastinum",
        "never score them on it",
        "calibration and thresholds not fitted",
    ):
        assert text in done.output
    again = json.loads(runner.invoke(app, [*arguments, "--json"]).stdout)
    assert again["imported"]["weight_set"] == "nih"
    shown = runner.invoke(app, ["show", str(tmp_path / "made")], env={"COLUMNS": "200"})
    assert "never score them on it" in shown.output


@pytest.mark.parametrize(
    ("more", "status", "message"),
    [
        (["--published", "somebody"], 2, "'somebody' is none of arnoweng"),
        (["--weight-set", "mine"], 2, "'mine' is none of all"),
        ([], 1, "say so with --published"),
        (["--published", "plain", "--name", "Not Allowed"], 1, "name"),
        (["--published", "plain", "--version", "one"], 1, "version"),
    ],
)
def test_wrong_arguments_are_named_and_nothing_is_written(
    tmp_path: Path, more: list[str], status: int, message: str
) -> None:
    save_state(hollow_densenet121(), tmp_path / "m.pth")
    arguments = ["import", str(tmp_path / "m.pth"), str(tmp_path / "made"), "--name", "m", *more]
    done = runner.invoke(app, arguments, env={"COLUMNS": "200", "TERM": "dumb"})
    assert done.exit_code == status
    assert message in done.stderr and "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["m.pth"]


DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "models.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("line", re.findall(r"^python -m model import (.+)$", DOCUMENT, re.MULTILINE))
def test_the_documented_commands_take_the_options_shown(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file, *rest = line.split()
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    Path(file).write_bytes(b"no checkpoint")
    done = runner.invoke(app, ["import", file, *rest])
    assert done.exit_code == 1, "2 would mean that the options are wrong"
    assert "no PyTorch file" in done.stderr or "cannot be read as a PyTorch file" in done.stderr


def test_every_published_network_is_documented() -> None:
    rows = re.findall(r"^\| (`[a-z].*?) \|", DOCUMENT.split("| `--published` |")[1], re.MULTILINE)
    assert {key for row in rows for key in re.findall(r"`([\w-]+)`", row)} == set(PUBLISHED)
