"""Every published layout gives the network's own tensors, bit by bit; everything else is refused in one sentence."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import (
    OldBackend,
    Tensors,
    aged,
    as_torchxrayvision,
    hollow_densenet121,
    of_2017,
    save,
    saved_on_a_gpu,
    torchvision_densenet121,
    with_sigmoid,
)
from slow_cases import mostly_slow
from torch import nn

from model import checkpoint as checkpoint_module
from model.checkpoint import CheckpointError, canonical_name, read_checkpoint
from model.legacy_container import without_class_records


@pytest.fixture(scope="module")
def state() -> Tensors:
    return dict(torchvision_densenet121().state_dict())


@pytest.fixture(scope="module")
def hollow_state() -> Tensors:
    return dict(hollow_densenet121().state_dict())


def arnoweng(path: Path, made: Callable[[], nn.Module] = torchvision_densenet121) -> Path:
    state = of_2017(made().state_dict())
    return saved_on_a_gpu(save({"epoch": 3, "state_dict": state, "best_loss": 0.1}, path, legacy=True))


def zoogzog(path: Path) -> Path:
    network = torchvision_densenet121()
    optimiser = torch.optim.Adam(network.parameters())
    content = {"epoch": 2, "state_dict": of_2017(network.state_dict()), "best_loss": 0.1}
    return save(content | {"optimizer": optimiser.state_dict()}, path, legacy=True)


def zech(path: Path, made: Callable[[], nn.Module] = torchvision_densenet121) -> Path:
    content = {"model": with_sigmoid(made()), "best_loss": 0.15, "epoch": 3, "LR": 0.01}
    return save(content | {"rng_state": torch.get_rng_state()}, path, legacy=False)


def zech_of_2018(path: Path, made: Callable[[], nn.Module] = torchvision_densenet121) -> Path:
    content = {"model": aged(with_sigmoid(made())), "best_loss": 0.15, "epoch": 3, "LR": 0.01}
    return saved_on_a_gpu(save(content, path, legacy=True))


def thtang(path: Path) -> Path:
    return save(of_2017(torchvision_densenet121(outputs=8).state_dict()), path, legacy=True)


def medical_mae(path: Path) -> Path:
    return save({"model": torchvision_densenet121().state_dict(), "epoch": 74, "scaler": {}}, path, legacy=False)


def eva_x(path: Path, made: Callable[[], nn.Module] = torchvision_densenet121) -> Path:
    return save({"state_dict": made().state_dict()}, path, legacy=False)


def compiled(path: Path) -> Path:
    state = torchvision_densenet121().state_dict()
    return save({"net": {f"_orig_mod.{name}": tensor for name, tensor in state.items()}}, path, legacy=False)


def torchxrayvision(path: Path) -> Path:
    with as_torchxrayvision():
        return save(aged(torchvision_densenet121(outputs=18, channels=1)), path, legacy=True)


def torchxrayvision_saved_again(path: Path) -> Path:
    """What a user of the library saves: an upsampling layer, names of outputs, thresholds as a buffer."""
    network = torchvision_densenet121(outputs=18, channels=1)
    network.register_buffer("op_threshs", torch.rand(18))
    network.upsample = nn.Upsample(size=(224, 224), mode="bilinear", align_corners=False)
    network.pathologies = ["Atelectasis", ""]
    with as_torchxrayvision():
        return save(network, path, legacy=False)


LAYOUTS: dict[Callable[[Path], Path], tuple[str | None, str, int, int]] = {
    arnoweng: (None, "module.densenet121.", 14, 3),
    zoogzog: (None, "module.densenet121.", 14, 3),
    zech: ("torchvision.models.densenet.DenseNet", "", 14, 3),
    zech_of_2018: ("torchvision.models.densenet.DenseNet", "", 14, 3),
    thtang: (None, "module.densenet121.", 8, 3),
    medical_mae: (None, "", 14, 3),
    eva_x: (None, "", 14, 3),
    compiled: (None, "_orig_mod.", 14, 3),
    torchxrayvision: ("torchxrayvision.models.DenseNet", "", 18, 1),
    torchxrayvision_saved_again: ("torchxrayvision.models.DenseNet", "", 18, 1),
}


@pytest.mark.parametrize("make", LAYOUTS, ids=lambda make: make.__name__)
def test_every_layout_gives_a_torchvision_network_with_the_same_logits_bit_by_bit(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    module, prefix, outputs, channels = LAYOUTS[make]
    found = read_checkpoint(make(tmp_path / "file"))
    assert (found.module, found.prefix, found.outputs, found.channels) == (module, prefix, outputs, channels)
    expected = torchvision_densenet121(outputs, channels)
    rebuilt = torchvision_densenet121(outputs, channels, seed=0)
    counters = {name: value for name, value in rebuilt.state_dict().items() if name.endswith("num_batches_tracked")}
    rebuilt.load_state_dict({name: torch.from_numpy(values) for name, values in found.tensors.items()} | counters)
    pictures = torch.randn(2, channels, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert torch.equal(rebuilt(pictures), expected(pictures))


def test_a_2017_file_has_606_tensors_and_a_file_of_today_727(tmp_path: Path, hollow_state: Tensors) -> None:
    """The numbers are the design page's (training.md, section 7)."""
    assert (len(of_2017(hollow_state)), len(hollow_state)) == (606, 727)
    assert len(read_checkpoint(arnoweng(tmp_path / "old", hollow_densenet121)).tensors) == 606
    assert len(read_checkpoint(eva_x(tmp_path / "new", hollow_densenet121)).tensors) == 606


def test_wrappers_are_stripped_however_often_they_are_nested() -> None:
    name = "module.model._orig_mod.densenet121.features.denseblock1.denselayer2.norm.1.weight"
    assert canonical_name(name) == "features.denseblock1.denselayer2.norm1.weight"


def test_parameters_that_want_gradients_and_half_precision_are_read(tmp_path: Path, state: Tensors) -> None:
    mixed = {
        name: nn.Parameter(tensor) if tensor.is_floating_point() and "weight" in name else tensor
        for name, tensor in state.items()
    }
    mixed["classifier.bias"] = state["classifier.bias"].to(torch.bfloat16)
    found = read_checkpoint(save(mixed, tmp_path / "m.pth", legacy=False)).tensors
    assert np.array_equal(found["classifier.weight"], state["classifier.weight"].numpy())
    assert np.array_equal(found["classifier.bias"], state["classifier.bias"].to(torch.bfloat16).float().numpy())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: {n: t for n, t in state.items() if n != "features.norm5.bias"}, r"first features\.norm5\.bias"),
        (lambda state: state | {"extra.weight": torch.zeros(1)}, r"first extra\.weight"),
        (lambda state: state | {"features.conv0.weight": torch.zeros(64, 3, 3, 3)}, r"first features\.conv0\.weight"),
        (lambda state: state | {"features.conv0.weight": torch.zeros(64, 2, 7, 7)}, r"first features\.conv0\.weight"),
        (lambda state: state | {"classifier.weight": torch.zeros(14, 512)}, r"first classifier\.weight"),
        (lambda state: state | {"classifier.bias": torch.zeros(15)}, r"first classifier\.bias"),
        (lambda state: state | {"classifier.2.weight": torch.zeros(14, 14)}, r"first classifier\.2\.weight"),
        (lambda state: state | {"module.classifier.bias": torch.zeros(14)}, "names the same tensor twice"),
        (lambda state: state | {"classifier.bias": torch.full((14,), torch.nan)}, "holds values that float32 cannot"),
        (
            lambda state: state | {"classifier.bias": torch.full((14,), 1e300, dtype=torch.float64)},
            "holds values that float32 cannot",
        ),
        (lambda state: state | {"classifier.bias": torch.zeros(14, dtype=torch.int64)}, "not a dense tensor"),
        (lambda state: state | {"classifier.bias": torch.zeros(14).to_sparse()}, "not a dense tensor of floating"),
        (lambda state: state | {"classifier.bias": torch.zeros(14, device="meta")}, "not a dense tensor of floating"),
        (lambda state: {"layer1.0.conv1.weight": torch.zeros(64, 64, 1, 1)}, "is no DenseNet-121 of torchvision"),
        (lambda state: {"epoch": 1, "lr": 0.1}, "epoch is not a tensor"),
        (lambda state: {1: torch.zeros(1)}, "a name is not a tensor"),
        (lambda state: {}, "holds no state dict and no network"),
        (lambda state: [1, 2], "holds no state dict and no network"),
    ],
)
@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
def test_a_state_dict_that_does_not_fit_is_refused(
    tmp_path: Path, hollow_state: Tensors, change: Callable[[Tensors], object], message: str
) -> None:
    save(change(dict(hollow_state)), tmp_path / "m.pth", legacy=False)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(tmp_path / "m.pth")


def relu_head(network: nn.Module) -> None:
    network.classifier = nn.Sequential(network.classifier, nn.ReLU())


def two_layers(network: nn.Module) -> None:
    network.classifier = nn.Sequential(nn.Linear(1024, 32), nn.Linear(32, 14))


def no_head(network: nn.Module) -> None:
    del network.classifier


def other_epsilon(network: nn.Module) -> None:
    network.features.norm5.eps = 1e-3


def other_stride(network: nn.Module) -> None:
    network.features.conv0.stride = (1, 1)


def other_pooling(network: nn.Module) -> None:
    network.features.pool0.padding = 0


def endless(network: nn.Module) -> None:
    network.features._modules["norm5"]._modules["again"] = network.features


def word_for_a_layer(network: nn.Module) -> None:
    network._modules["classifier"] = "Linear"


def word_for_a_tensor(network: nn.Module) -> None:
    network.classifier._parameters["bias"] = "zeros"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (relu_head, r"ends in Linear and ReLU, not in one Linear layer \(and a Sigmoid\)"),
        (two_layers, "ends in Linear and Linear"),
        (no_head, "ends in nothing"),
        (other_epsilon, r"has eps 0\.001 at features\.norm5, not 1e-05"),
        (other_stride, r"has stride \(1, 1\) at features\.conv0, not 2"),
        (other_pooling, r"has padding 0 at features\.pool0, not 1"),
        (endless, "layers inside layers without end"),
        (word_for_a_layer, "has no layer at classifier"),
        (word_for_a_tensor, r"has no tensor at classifier\.bias"),
    ],
)
def test_a_whole_network_that_computes_something_else_is_refused(
    tmp_path: Path, change: Callable[[nn.Module], None], message: str
) -> None:
    network = hollow_densenet121()
    change(network)
    save({"model": network}, tmp_path / "checkpoint", legacy=False)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(tmp_path / "checkpoint")


def test_a_layer_alone_is_no_network(tmp_path: Path) -> None:
    save(nn.Linear(3, 3), tmp_path / "m.pth", legacy=True)
    with pytest.raises(CheckpointError, match="holds a Linear, not a DenseNet"):
        read_checkpoint(tmp_path / "m.pth")


@pytest.mark.parametrize("legacy", [True, False])
def test_a_network_of_another_class_is_refused_by_its_name(tmp_path: Path, legacy: bool) -> None:
    save({"model": nn.DataParallel(nn.Linear(3, 3))}, tmp_path / "m.pth", legacy=legacy)
    with pytest.raises(CheckpointError, match=r"holds torch\.nn\.parallel\.data_parallel\.DataParallel"):
        read_checkpoint(tmp_path / "m.pth")


class Harmful:
    """An object whose unpickling would make a folder."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


class HarmfulExpression(Harmful):
    """The same as an expression to evaluate."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, (f"__import__('os').mkdir({str(self.mark)!r})",)


@pytest.mark.parametrize("attack", [Harmful, HarmfulExpression])
@pytest.mark.parametrize("legacy", [True, False])
def test_a_file_that_would_run_code_is_refused_and_runs_nothing(
    tmp_path: Path, attack: type[Harmful], legacy: bool
) -> None:
    mark = tmp_path / "mark"
    network = hollow_densenet121()
    network.classifier.__dict__["extra"] = attack(mark)
    for content in ({"state_dict": attack(mark)}, {"model": network}, OrderedDict(a=attack(mark))):
        save(content, tmp_path / "m.pth", legacy=legacy)
        with pytest.raises(CheckpointError, match="which is not a tensor"):
            read_checkpoint(tmp_path / "m.pth")
        assert not mark.exists()
    torch.load(tmp_path / "m.pth", weights_only=False)  # the attack is real: this is what must never be done
    assert mark.exists()


class DisguisingPickler(pickle.Pickler):
    """Writes ``os.mkdir`` as torch before 1.6 wrote a layer's class."""

    seen = False

    def persistent_id(self, value: object) -> tuple[object, ...] | None:
        if value is not os.mkdir or self.seen:
            return None
        self.seen = True
        return "module", value, "linear.py", "class Linear: ..."


def test_a_command_in_the_place_of_a_layers_class_is_refused(tmp_path: Path, hollow_state: Tensors) -> None:
    whole = save(hollow_state, tmp_path / "m.pth", legacy=True).read_bytes()
    head, stream = BytesIO(whole), BytesIO()
    for _ in range(3):
        pickle.load(head)  # noqa: S301 - written two lines above
    DisguisingPickler(stream, protocol=2).dump({"state_dict": Harmful(tmp_path / "mark")})
    content = whole[: head.tell()] + stream.getvalue() + pickle.dumps([], protocol=2)
    (tmp_path / "m.pth").write_bytes(content)
    assert b"class Linear" in content and b"class Linear" not in without_class_records(content)
    with pytest.raises(CheckpointError, match=r"holds posix\.mkdir|holds more than tensors"):
        read_checkpoint(tmp_path / "m.pth")
    assert not (tmp_path / "mark").exists()


def test_nothing_is_left_allowed_after_reading(tmp_path: Path) -> None:
    before = set(torch.serialization.get_safe_globals())  # kept by torch as a set, listed in any order
    read_checkpoint(zech(tmp_path / "checkpoint", hollow_densenet121))
    assert set(torch.serialization.get_safe_globals()) == before


@pytest.mark.parametrize("content", [b"hello, no network", b"", b"PK\x03\x04 cut", b"\x80\x02}q\x00", b"\x80\x02K"])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"m\.pth"):
        read_checkpoint(tmp_path / "m.pth")


@pytest.mark.parametrize("make", [zech_of_2018, zech])
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, make: Callable[..., Path]) -> None:
    whole = make(tmp_path / "whole", hollow_densenet121).read_bytes()
    places = np.random.default_rng(3).integers(0, min(len(whole), 200_000), 12).tolist()
    for number, place in enumerate([*places, len(whole) - 1000]):
        cut = tmp_path / f"cut{number}"
        cut.write_bytes(whole[:place])
        with pytest.raises(CheckpointError, match=f"cut{number}"):
            read_checkpoint(cut)


@pytest.mark.parametrize("files", mostly_slow([8, 25], 8))
def test_damaged_instructions_end_in_a_sentence_or_in_the_same_network(tmp_path: Path, files: int) -> None:
    whole = zech_of_2018(tmp_path / "whole", hollow_densenet121).read_bytes()
    random, refused = np.random.default_rng(4), 0
    for number in range(files):
        content = bytearray(whole)
        content[int(random.integers(150, 100_000))] = int(random.integers(0, 256))
        (tmp_path / "damaged").write_bytes(content)
        try:
            assert read_checkpoint(tmp_path / "damaged").outputs == 14, number
        except CheckpointError:
            refused += 1
    assert refused > 0


def test_a_folder_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read as a PyTorch file"):
        read_checkpoint(tmp_path)


def test_a_file_that_would_fill_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_module, "MAXIMUM_BYTES", 1_000_000)
    (tmp_path / "large.pth").write_bytes(bytes(1_000_001))
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("archive/data.pkl", bytes(1_000_001))
    for name in ("large.pth", "bomb.pth"):
        with pytest.raises(CheckpointError, match=rf"{name} holds \d+ bytes, more than the 1000000"):
            read_checkpoint(tmp_path / name)


def test_rewriting_a_legacy_container_leaves_files_without_layers_as_they_are(
    tmp_path: Path, hollow_state: Tensors
) -> None:
    content = save({"state_dict": hollow_state}, tmp_path / "m.pth", legacy=True).read_bytes()
    assert without_class_records(content) == content


def test_rewriting_keeps_what_later_parts_of_the_pickle_refer_to(tmp_path: Path) -> None:
    """The word "module" of the records is also a key of the object: both are one string in the pickle's memo."""
    content = {"first": nn.Linear(2, 2), "module": 1, "second": nn.Linear(2, 2), "backend": OldBackend()}
    rewritten = without_class_records(save(content, tmp_path / "m.pth", legacy=True).read_bytes())
    (tmp_path / "again.pth").write_bytes(rewritten)
    again = torch.load(tmp_path / "again.pth", weights_only=False)
    assert list(again) == ["first", "module", "second", "backend"]
    assert torch.equal(again["second"].weight, content["second"].weight)  # type: ignore[attr-defined]
    assert b"class Linear" not in rewritten
