"""Whether a bundle may be served in bfloat16: tried, told, and written into it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from training.evaluation.leakage import LeakError
from training.judging.asked import Asked
from training.judging.telling import leak_sentences, subject_of, tell
from training.output import require_place, writing_to
from training.precision_trial import predictions_in_bf16, require_bf16, trial_of, with_trial
from training.reporting.precision_section import trial_grid
from training.reporting.report import NOTICE


def try_bf16(asked: Asked, to: Path | None, *, as_json: bool) -> None:
    """Try a bundle in bfloat16, write the bundle with the figures, and print them.

    Parameters
    ----------
    to
        Folder of the bundle with the figures; None: the bundle's own.

    Raises
    ------
    RuntimeUnavailableError
        This processor does not compute in bfloat16.
    LeakError
        A file of predictions was named, which has no network to try.
    """
    processor = require_bf16()
    if to is not None:
        require_place(to)
    subject = subject_of(asked)
    if subject.bundle is None or subject.cache is None:
        raise LeakError(f"{asked.model} is a file of predictions; name a bundle")
    with writing_to(asked.out):
        said = predictions_in_bf16(subject.bundle, subject, subject.cache, asked.out)
    trial = trial_of(subject.bundle, subject, said, processor)
    new = with_trial(subject.bundle, trial, to or subject.bundle.folder)
    verdict = f"Not passed: {trial.obstacle}." if trial.obstacle else "Passed."
    facts = {"notice": NOTICE, "bundle": str(new.folder), "passed": not trial.obstacle} | dataclasses.asdict(trial)
    sentences = [*leak_sentences(subject), f"{verdict} Written to {new.folder}."]
    tell(facts, None, [trial_grid(trial)], as_json=as_json, sentences=sentences)
