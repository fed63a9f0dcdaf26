"""What a run leaves that cannot be served: its weights, what they are, and their figures, as plain files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from model.bundle import OperatingPoint
from training.data.cache_index import write_whole
from training.data.radiographs import NO_FINDING, list_hash
from training.evaluation.box_protocol import localisation_values
from training.evaluation.evaluate import Evaluation
from training.evaluation.inference import Outputs
from training.evaluation.metrics import auroc, average_precision, patient_weights, with_interval
from training.fitting.initial import origin_of
from training.prepare import Prepared

WEIGHTS_FILE, METRICS_FILE = "weights.safetensors", "metrics.json"


def write_weights(
    folder: Path,
    network: torch.nn.Module,
    prepared: Prepared,
    evaluation: Evaluation,
    outputs: Outputs,
    points: dict[str, OperatingPoint],
) -> None:
    """Write ``weights.safetensors`` (float32) and ``metrics.json``, each whole or not at all.

    Parameters
    ----------
    outputs
        Of the test part, [N, K], for what the fourteen findings do not hold.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    write_whole(save(tensors, metadata={"not": "for diagnostic use"}), folder / WEIGHTS_FILE)
    facts = _facts(prepared) | {
        "operating_points": {
            label: {"threshold": p.threshold, "chosen_by": p.chosen_by} for label, p in points.items()
        },
        "metrics": evaluation.metrics() | {"part": prepared.parts.mark},
        "localisation": localisation_values(evaluation.pointing, {}),
        "no_finding": _no_finding(prepared, outputs),
    }
    write_whole((json.dumps(facts, indent=1, allow_nan=False) + "\n").encode(), folder / METRICS_FILE)


def _facts(prepared: Prepared) -> dict[str, Any]:
    recipe, parts = prepared.plan.recipe, prepared.parts
    return {
        "warning": "NOT FOR DIAGNOSTIC USE. Not a medical device.",
        "not_served_because": prepared.reasons_not_to_serve,
        "recipe": recipe.model_dump(mode="json"),
        "labels": list(prepared.plan.training.labels),
        "grey_levels": list(prepared.plan.levels),
        "started_from": str(origin_of(recipe, prepared.plan.init_file)),
        "parts": parts.mark,
        "trained_on_list_sha256": list_hash(parts.training + parts.validation),
    }


def _no_finding(prepared: Prepared, outputs: Outputs) -> dict[str, Any] | None:
    """Return the figures of the "No Finding" output, None where there is none."""
    recipe, examples = prepared.plan.recipe, prepared.examples(prepared.parts.test)
    if NO_FINDING not in examples.labels:
        return None
    column = examples.labels.index(NO_FINDING)
    truth, logits = examples.targets[:, column], outputs.logits[:, column]
    weights = patient_weights(prepared.layout.patients(examples.names), recipe.bootstrap_samples, recipe.seed)
    return {
        "positives": int(truth.sum()),
        "auroc": with_interval(auroc, truth, logits, weights).rounded(),
        "average_precision": with_interval(average_precision, truth, logits, weights).rounded(),
    }
