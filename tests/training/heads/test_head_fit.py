from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from head_runs import head_recipe, separable_table

from training.fitting.checkpoint import CheckpointError
from training.heads.figures import head_figures, mean_auroc
from training.heads.fit import FittedHead, HeadTrainer, fit_head
from training.heads.perceptron import Perceptron, logits_of, read_head, write_head
from training.heads.recipe import HeadChoices, load_head_recipe
from training.heads.table import HeadTable


def choices(**keys: Any) -> HeadChoices:
    return head_recipe(**keys).head


def fitted(table: HeadTable, choices: HeadChoices) -> FittedHead:
    return fit_head(table, choices, 1, lambda entry: None)


def test_the_sources_head_has_its_267118_weights_and_a_file_of_one_megabyte(tmp_path: Path) -> None:
    recipe = load_head_recipe("s2")
    head = Perceptron(2048 + 2, recipe.head.hidden)
    expected = (2050 * 128 + 128) + (128 * 32 + 32) + (32 * 14 + 14)
    assert head.parameter_count == expected == 267_118
    write_head(tmp_path / "head.safetensors", head, {})
    assert 4 * expected < (tmp_path / "head.safetensors").stat().st_size < 4 * expected + 4096  # float32 and its header
    kinds = [type(layer).__name__ for layer in head.layers]
    assert kinds == ["Linear", "ReLU", "Linear", "ReLU", "Linear"]


def test_a_head_is_read_back_with_its_facts(tmp_path: Path) -> None:
    head = Perceptron(5, (3,), standardised=True)
    head.mean.fill_(2.0)
    write_head(tmp_path / "head.safetensors", head, {"recipe": "trial"})
    again, facts = read_head(tmp_path / "head.safetensors")
    assert facts["recipe"] == "trial"
    inputs = np.random.default_rng(1).normal(size=(4, 5)).astype(np.float32)
    assert np.array_equal(logits_of(again, inputs), logits_of(head, inputs))


def test_the_weighted_loss_is_the_arithmetic_of_the_training_frequencies() -> None:
    """For each finding: positives weigh N/(P+N), negatives P/(P+N) of the training part; the mean over all."""
    table = separable_table()
    trainer = HeadTrainer(table, choices(loss={"weighting": "frequency"}), seed=1)
    truth = table.targets[table.rows("training")].astype(np.float64)
    logits = logits_of(trainer.head, table.inputs[table.rows("training")]).astype(np.float64)
    positives = truth.mean(0)
    probability = 1 / (1 + np.exp(-logits))
    costs = -(1 - positives) * truth * np.log(probability) - positives * (1 - truth) * np.log(1 - probability)
    assert trainer.history[0]["training_loss"] == pytest.approx(costs.mean(), rel=1e-5)
    plain = HeadTrainer(table, choices(loss={"weighting": "none"}), seed=1)
    expected = -(truth * np.log(probability) + (1 - truth) * np.log(1 - probability)).mean()
    assert plain.history[0]["training_loss"] == pytest.approx(expected, rel=1e-5)


def test_the_weights_of_the_loss_come_from_the_training_part_alone() -> None:
    table = separable_table()
    table.targets[table.rows("validation")] = 1
    table.targets[table.rows("test")] = 1
    trainer = HeadTrainer(table, choices(loss={"weighting": "frequency"}), seed=1)
    negatives = 1 - table.targets[table.rows("training")].mean(0)
    np.testing.assert_allclose(trainer.loss.positive_weight.numpy(), negatives, atol=1e-6)


def test_a_column_that_tells_a_finding_is_learnt_and_the_lowest_validation_loss_kept() -> None:
    table = separable_table()
    head = fitted(table, choices(learning_rate=0.05, epochs=12))
    losses = [entry["validation_loss"] for entry in head.history]
    assert len(losses) == 13
    assert head.best_epoch == int(np.argmin(losses)) > 0
    assert head.best_validation_loss == min(losses)
    test = table.rows("test")
    figures = head_figures(logits_of(head.best, table.inputs[test]), table.targets[test], test.astype(str), 100, 1)
    first = next(iter(figures.aurocs.values()))
    assert first.value > 0.95  # means four deviations apart: 0.998 for the best cut
    assert mean_auroc(logits_of(head.best, table.inputs[test]), table.targets[test]) == pytest.approx(
        figures.mean.value
    )


def test_the_kept_weights_are_those_of_the_kept_epoch() -> None:
    table = separable_table()
    many = fitted(table, choices(learning_rate=0.05, epochs=8))
    assert 0 < many.best_epoch < 8  # a hundred rows are learnt by heart soon
    until = fitted(table, choices(learning_rate=0.05, epochs=many.best_epoch))
    for name, tensor in many.best.state_dict().items():
        assert torch.equal(tensor, until.best.state_dict()[name])


def test_the_learning_rate_falls_after_the_patience_and_only_then() -> None:
    """Replays the rule of ``ReduceLROnPlateau``: better = lower by more than 1e-4 of the best (PyTorch's default)."""
    table = separable_table()
    history = fitted(table, choices(learning_rate=0.5, epochs=15, plateau_patience=1, plateau_factor=0.2)).history
    rate, best, bad, falls = 0.5, np.inf, 0, 0
    for entry in history[1:]:
        assert entry["learning_rate"] == pytest.approx(rate)
        if entry["validation_loss"] < best * (1 - 1e-4):
            best, bad = entry["validation_loss"], 0
        else:
            bad += 1
        if bad > 1:
            rate, bad, falls = rate * 0.2, 0, falls + 1
    assert falls >= 2


def test_standardised_columns_have_mean_0_and_deviation_1_of_the_training_part() -> None:
    table = separable_table()
    table.inputs[:] = table.inputs * 50 + 7
    head = fitted(table, choices(standardise=True, epochs=1)).best
    rows = torch.from_numpy(table.inputs[table.rows("training")])
    seen = (rows - head.mean) / head.deviation
    torch.testing.assert_close(seen.mean(0), torch.zeros(6), atol=1e-4, rtol=0)
    torch.testing.assert_close(seen.std(0, correction=0), torch.ones(6), atol=1e-4, rtol=0)


class Stop(Exception):
    pass


def test_a_broken_run_continues_bit_by_bit(tmp_path: Path) -> None:
    table, wanted = separable_table(), choices(hidden=(5,), learning_rate=0.3, epochs=12)

    def stop(entry: dict[str, float]) -> None:
        if entry["epoch"] == 4:
            raise Stop

    with pytest.raises(Stop):
        fit_head(table, wanted, 1, stop, tmp_path / "checkpoint.pt", "same")
    epochs: list[float] = []
    resumed = fit_head(table, wanted, 1, lambda e: epochs.append(e["epoch"]), tmp_path / "checkpoint.pt", "same")
    whole = fitted(table, wanted)
    assert epochs == list(range(5, 13))
    assert whole.history[-1]["learning_rate"] < whole.history[5]["learning_rate"]  # the patience was continued too
    assert resumed.history == whole.history
    for name, tensor in whole.best.state_dict().items():
        assert torch.equal(tensor, resumed.best.state_dict()[name])
    with pytest.raises(CheckpointError):
        fit_head(table, wanted, 1, stop, tmp_path / "checkpoint.pt", "other")
