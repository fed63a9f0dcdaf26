from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_runs import tiny_run

from training.evaluation.inference import outputs_of
from training.fitting.checkpoint import CheckpointError, load_checkpoint
from training.fitting.loop import Trainer
from training.parallel import Team
from training.prepare import Prepared

ALONE = Team(0, 1)


def _finished(prepared: Prepared) -> dict[str, Any]:
    checkpoint = load_checkpoint(prepared.plan.checkpoint, prepared.plan.fingerprint)
    assert checkpoint is not None
    assert checkpoint["finished"]
    return checkpoint


def test_a_run_interrupted_after_every_step_equals_an_uninterrupted_one_bit_by_bit(tmp_path: Path) -> None:
    straight = tiny_run(tmp_path / "straight")
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    assert Trainer(straight.plan, ALONE).run()
    broken = tiny_run(tmp_path / "broken")
    interruptions = 0
    while True:
        trainer = Trainer(broken.plan, ALONE)
        trainer.stop_asked = True  # as a signal during the first step would
        if trainer.run():
            break
        interruptions += 1
    first, second = _finished(straight), _finished(broken)
    assert interruptions == first["steps_done"] == 12
    for part in ("network", "averaged"):
        assert all(torch.equal(tensor, second[part][name]) for name, tensor in first[part].items())
    assert first["history"] == second["history"]
    assert first["best"]["auroc"] == second["best"]["auroc"]
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == handlers


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    prepared = tiny_run(tmp_path)
    assert Trainer(prepared.plan, ALONE).run()
    again = Trainer(prepared.plan, ALONE)
    assert again.run()
    assert again.steps_done == 12


def test_training_moves_the_weights_and_the_averaged_weights_follow_behind(tmp_path: Path) -> None:
    prepared = tiny_run(tmp_path)
    trainer = Trainer(prepared.plan, ALONE)
    before = trainer.network.classifier.weight.detach().clone()
    trainer.run()
    own, averaged = (network.classifier.weight.detach() for network in (trainer.network, trainer.averaged))
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
    outputs = outputs_of(trainer.network, trainer.cache, trainer.plan.training.names, 32)
    logits = torch.from_numpy(outputs.logits[:, [2, 4]])
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(rows))
    assert float(loss) < 0.5  # 0.69 when guessing


def test_bfloat16_steps_on_a_cpu_follow_those_of_float32_closely_but_not_exactly(tmp_path: Path) -> None:
    weights = {}
    for precision in ("auto", "fp32", "bf16"):
        prepared = tiny_run(tmp_path / precision, precision=precision)
        trainer = Trainer(prepared.plan, ALONE)
        before = trainer.network.classifier.weight.detach().clone()
        assert trainer.run()
        assert trainer.network.classifier.weight.dtype == torch.float32
        weights[precision] = trainer.network.classifier.weight.detach() - before
    assert torch.equal(weights["auto"], weights["fp32"])  # on a CPU
    assert not torch.equal(weights["bf16"], weights["fp32"])
    assert float(torch.cosine_similarity(weights["bf16"].flatten(), weights["fp32"].flatten(), dim=0)) > 0.9


def test_the_loss_of_the_recipe_is_the_one_that_is_minimised(tmp_path: Path) -> None:
    """Labels smoothed to nearly one half leave hardly a reason to move away from a probability of one half."""
    spread = {}
    for smoothing in (0.0, 0.9):
        prepared = tiny_run(tmp_path / str(smoothing), loss={"label_smoothing": smoothing}, box_weight=0.0)
        trainer = Trainer(prepared.plan, ALONE)
        assert trainer.run()
        outputs = outputs_of(trainer.network, trainer.cache, trainer.plan.training.names, 64)
        spread[smoothing] = float(np.abs(outputs.logits[:, [0, 1, 3]]).mean())  # findings no picture has
    assert spread[0.9] < spread[0.0]
