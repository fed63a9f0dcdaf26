"""What a run says, as rows: each finding of each picture."""

from __future__ import annotations

from collections.abc import Iterable

from model.labels import LABELS
from worker.rows.run_tables import Prediction
from worker.runs.analysis import Analysis
from worker.runs.policy import Policy


def prediction_rows(run_id: int, analysis: Analysis, policy: Policy) -> Iterable[Prediction]:
    """Yield 14 rows per picture; nothing is flagged in a historical study."""
    for picture, probabilities in zip(analysis.pictures, analysis.probabilities, strict=True):
        for label, probability in zip(LABELS, probabilities, strict=True):
            yield Prediction(
                run_id=run_id,
                instance_id=picture.instance_id,
                finding=label,
                probability=probability,
                threshold=policy.thresholds[label],
                flagged=policy.flags(label, probability) and not analysis.historical,
            )
