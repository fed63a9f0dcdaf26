from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_runs import tiny_run

from model.compiled_network import processor_computes_bf16
from training.evaluation.inference import outputs_of
from training.fitting.checkpoint import CheckpointError, load_checkpoint
from training.fitting.loop import DivergedError, Trainer
from training.parallel import Team
from training.prepare import Prepared
from training.recipe import RecipeError

ALONE = Team(0, 1)


def _finished(prepared: Prepared) -> dict[str, Any]:
    checkpoint = load_checkpoint(prepared.plan.checkpoint, prepared.plan.fingerprint)
    assert checkpoint is not None
    assert checkpoint["finished"]
    return checkpoint


STATEFUL: dict[str, Any] = {
    "architecture": "densenet-tiny",
    "network": {"dropout": 0.5, "metadata": ["age"]},
    "box_weight": 0.0,
    "optimiser": {"kind": "sgd"},
    "schedule": {"kind": "plateau", "plateau_patience": 0, "plateau_factor": 0.5},
    "early_stopping_patience": 2,
    "selection": "loss",
    "accumulation_steps": 2,
    "data": {"sampling": "findings"},
    "stages": [{"size_px": 32, "epochs": 9, "batch_size": 4, "learning_rate": 0.3, "steps_per_epoch": 2}],
}
"""Everything that remembers something between steps or epochs, and everything that draws random numbers."""


@pytest.mark.parametrize(
    ("choices", "steps"),
    [pytest.param({}, 12, id="plain", marks=pytest.mark.slow), pytest.param(STATEFUL, None, id="stateful")],
)
def test_a_run_interrupted_after_every_step_equals_an_uninterrupted_one_bit_by_bit(
    tmp_path: Path, choices: dict[str, Any], steps: int | None
) -> None:
    straight = tiny_run(tmp_path / "straight", **choices)
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    assert Trainer(straight.plan, ALONE).run()
    broken = tiny_run(tmp_path / "broken", **choices)
    interruptions = 0
    while True:
        torch.manual_seed(interruptions)  # no random number may come from what the process did before
        trainer = Trainer(broken.plan, ALONE)
        trainer.stop_asked = True  # as a signal during the first step would
        if trainer.run():
            break
        interruptions += 1
    first, second = _finished(straight), _finished(broken)
    assert interruptions == first["steps_done"] == (steps or first["steps_done"])
    for part in ("network", "averaged"):
        assert all(torch.equal(tensor, second[part][name]) for name, tensor in first[part].items())
    for part in ("history", "patience", "plateau", "ended_early"):
        assert first[part] == second[part]
    assert first["best"]["score"] == second["best"]["score"]
    assert all(
        torch.equal(tensor, second["best"]["weights"][name]) for name, tensor in first["best"]["weights"].items()
    )
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == handlers


def test_the_stateful_run_met_a_plateau_and_stopped_early(tmp_path: Path) -> None:
    """Otherwise the comparison above would say nothing about them."""
    prepared = tiny_run(tmp_path, **STATEFUL)
    assert Trainer(prepared.plan, ALONE).run()
    done = _finished(prepared)
    losses = [epoch["loss"] for epoch in done["history"]]
    best = losses.index(min(losses))
    assert done["ended_early"]
    assert len(losses) == best + 3 < 9  # two epochs without a better one, then no more
    assert done["best"]["epoch"] == best
    worse = sum(loss >= min(losses[:place]) for place, loss in enumerate(losses) if place)
    assert done["plateau"]["share"] == 0.5**worse


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    prepared = tiny_run(tmp_path)
    assert Trainer(prepared.plan, ALONE).run()
    again = Trainer(prepared.plan, ALONE)
    assert again.run()
    assert again.learner.steps_done == 12


def test_training_moves_the_weights_and_the_averaged_weights_follow_behind(tmp_path: Path) -> None:
    prepared = tiny_run(tmp_path)
    trainer = Trainer(prepared.plan, ALONE)
    before = trainer.learner.network.classifier.weight.detach().clone()
    trainer.run()
    own, averaged = (
        network.classifier.weight.detach() for network in (trainer.learner.network, trainer.learner.averaged)
    )
    assert not torch.equal(before, own)
    assert 0 < float((averaged - before).abs().sum()) < float((own - before).abs().sum())
    assert trainer.best["epoch"] == 2  # the only epoch of the last stage, the size that is served


def test_another_recipe_does_not_continue_the_checkpoint(tmp_path: Path) -> None:
    assert Trainer(tiny_run(tmp_path).plan, ALONE).run()
    with pytest.raises(CheckpointError, match="another recipe"):
        Trainer(tiny_run(tmp_path, seed=5).plan, ALONE)
    later = tiny_run(tmp_path, operating_point="sensitivity")  # decided after training
    assert Trainer(later.plan, ALONE).run()


def test_the_loss_of_the_first_steps_falls_when_one_batch_is_learnt_by_heart(tmp_path: Path) -> None:
    stage = {"size_px": 32, "epochs": 40, "batch_size": 16, "learning_rate": 3e-3, "final_learning_rate": 1e-3}
    prepared = tiny_run(tmp_path, stages=[stage], augmentation={}, ema_decay=0.0)
    trainer = Trainer(prepared.plan, ALONE)
    assert trainer.run()
    # 16 noise pictures have nothing to learn but themselves, so the weights must know them after 40 steps.
    rows = trainer.plan.training.targets[:, [2, 4]]
    outputs = outputs_of(trainer.learner.network, trainer.cache, trainer.plan.training.names, 32)
    logits = torch.from_numpy(outputs.logits[:, [2, 4]])
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(rows))
    assert float(loss) < 0.5  # 0.69 when guessing


def test_bfloat16_steps_on_a_cpu_follow_those_of_float32_closely_but_not_exactly(tmp_path: Path) -> None:
    weights = {}
    for precision in ("auto", "fp32", "bf16"):
        prepared = tiny_run(tmp_path / precision, precision=precision)
        trainer = Trainer(prepared.plan, ALONE)
        before = trainer.learner.network.classifier.weight.detach().clone()
        assert trainer.run()
        assert trainer.learner.network.classifier.weight.dtype == torch.float32
        weights[precision] = trainer.learner.network.classifier.weight.detach() - before
    assert torch.equal(weights["auto"], weights["bf16" if processor_computes_bf16() else "fp32"])
    assert not torch.equal(weights["bf16"], weights["fp32"])
    assert float(torch.cosine_similarity(weights["bf16"].flatten(), weights["fp32"].flatten(), dim=0)) > 0.9


def test_the_loss_of_the_recipe_is_the_one_that_is_minimised(tmp_path: Path) -> None:
    """Labels smoothed to nearly one half leave hardly a reason to move away from a probability of one half."""
    spread = {}
    for smoothing in (0.0, 0.9):
        prepared = tiny_run(tmp_path / str(smoothing), loss={"label_smoothing": smoothing}, box_weight=0.0)
        trainer = Trainer(prepared.plan, ALONE)
        assert trainer.run()
        outputs = outputs_of(trainer.learner.network, trainer.cache, trainer.plan.training.names, 64)
        spread[smoothing] = float(np.abs(outputs.logits[:, [0, 1, 3]]).mean())  # findings no picture has
    assert spread[0.9] < spread[0.0]


def test_a_frozen_backbone_keeps_its_weights_and_its_statistics(tmp_path: Path) -> None:
    prepared = tiny_run(tmp_path, network={"freeze": True}, box_weight=0.0)
    trainer = Trainer(prepared.plan, ALONE)
    before = {name: tensor.clone() for name, tensor in trainer.learner.network.state_dict().items()}
    assert trainer.run()
    after = trainer.learner.network.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before if name.startswith("features."))
    assert not torch.equal(after["classifier.weight"], before["classifier.weight"])


def test_pieces_of_a_batch_add_up_to_its_gradient(tmp_path: Path) -> None:
    """A network without batch statistics, so that a piece's pictures do not see the others."""
    choices = {
        "architecture": "cnn-2",
        "network": {"pooling": "mean"},
        "precision": "fp32",  # bfloat16, where the processor has it, rounds more than the tolerance below
        "box_weight": 0.0,
        "ema_decay": 0.0,
        "augmentation": {},
        "optimiser": {"kind": "sgd", "momentum": 0.0},
        "stages": [{"size_px": 32, "epochs": 1, "batch_size": 4, "learning_rate": 0.1, "steps_per_epoch": 1}],
    }
    weights = []
    for pieces in (1, 2, 4):
        trainer = Trainer(tiny_run(tmp_path / str(pieces), accumulation_steps=pieces, **choices).plan, ALONE)
        assert trainer.run()
        weights.append(trainer.learner.network.state_dict())
    assert all(torch.allclose(tensor, weights[1][name], atol=1e-6) for name, tensor in weights[0].items())
    assert all(torch.allclose(tensor, weights[2][name], atol=1e-6) for name, tensor in weights[0].items())


def test_a_loss_that_is_no_number_ends_the_run_and_leaves_the_last_good_checkpoint(tmp_path: Path) -> None:
    stage = {"size_px": 32, "epochs": 2, "batch_size": 4, "learning_rate": 1e20}
    prepared = tiny_run(tmp_path, stages=[stage], optimiser={"kind": "sgd", "gradient_clip": 0.0})
    with pytest.raises(DivergedError, match=r"epoch 1 is not a number; lower the learning rate"):
        Trainer(prepared.plan, ALONE).run()
    assert not prepared.plan.checkpoint.exists()


def test_batches_that_cannot_be_shared_evenly_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="a batch of 4 cannot be shared evenly by 3 processes"):
        tiny_run(tmp_path, processes=3)
    with pytest.raises(RecipeError, match="by 2 processes in 4 piece"):
        tiny_run(tmp_path, processes=2, accumulation_steps=4)


def test_the_selection_metric_picks_the_epoch(tmp_path: Path) -> None:
    for selection, key, best in (("loss", "loss", min), ("average-precision", "average_precision", max)):
        prepared = tiny_run(
            tmp_path / selection,
            selection=selection,
            box_weight=0.0,
            stages=[{"size_px": 32, "epochs": 4, "batch_size": 4, "learning_rate": 3e-3}],
        )
        assert Trainer(prepared.plan, ALONE).run()
        done = _finished(prepared)
        values = [epoch[key] if key == "loss" else np.mean(list(epoch[key].values())) for epoch in done["history"]]
        assert done["best"]["epoch"] == values.index(best(values))


def test_a_deterministic_run_asks_torch_for_it_and_the_next_run_takes_it_back(tmp_path: Path) -> None:
    Trainer(tiny_run(tmp_path / "first", deterministic=True).plan, ALONE)
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.benchmark
    Trainer(tiny_run(tmp_path / "second").plan, ALONE)
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_network_that_is_no_number_any_more_never_takes_the_place_of_a_good_checkpoint(tmp_path: Path) -> None:
    """A checkpoint within the epoch, by the clock or by Ctrl-C, would else keep what no run can be continued from."""
    prepared = tiny_run(tmp_path)
    first = Trainer(prepared.plan, ALONE)
    first.stop_asked = True
    assert not first.run()
    before = prepared.plan.checkpoint.read_bytes()
    trainer = Trainer(prepared.plan, ALONE)
    trainer.learner.network.classifier.bias.data.fill_(float("nan"))
    trainer.stop_asked = True
    with pytest.raises(DivergedError, match=r"epoch 1 .*lower the learning rate.*delete .*checkpoint\.pt"):
        trainer.run()
    assert prepared.plan.checkpoint.read_bytes() == before


def test_a_loss_that_is_no_number_ends_the_epoch_before_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.fitting.loop._STEPS_BETWEEN_LOOKS", 2)
    trainer = Trainer(tiny_run(tmp_path).plan, ALONE)
    assert trainer.epochs[0].steps > 2
    trainer.learner.network.classifier.bias.data.fill_(float("nan"))
    with pytest.raises(DivergedError, match=r"epoch 1 is not a number; lower the learning rate"):
        trainer.run()
    assert trainer.step == 2


def test_weights_that_the_last_step_of_an_epoch_breaks_are_not_kept_as_the_best(tmp_path: Path) -> None:
    trainer = Trainer(tiny_run(tmp_path).plan, ALONE)
    trainer.learner.averaged.classifier.bias.data.fill_(float("nan"))
    with pytest.raises(DivergedError, match="is not a number"):
        trainer.run()
    assert trainer.best["weights"] == {}
