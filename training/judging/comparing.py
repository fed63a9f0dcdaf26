"""Whether one model is better than another on the same pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from training.evaluation.comparison import compare_models
from training.evaluation.evaluate import Resampling
from training.evaluation.leakage import LeakError
from training.judging.asked import Asked
from training.judging.telling import leak_sentences, subject_of, tell
from training.reporting.comparison_grids import comparison_grids
from training.reporting.report import NOTICE


def compare_with(asked: Asked, other: Path, resampling: Resampling, *, as_json: bool) -> None:
    """Compare the model asked for with another one, write ``comparison.json`` and print it.

    Parameters
    ----------
    other
        The new model: a bundle or a file of predictions. The one asked for is the one to beat.
    """
    cache = asked.cache or asked.out.parent / "cache"
    subjects = [
        subject_of(replace(asked, model=model, out=asked.out / side, cache=cache))
        for side, model in (("a", asked.model), ("b", other))
    ]
    known = set(subjects[1].names)
    names = tuple(name for name in subjects[0].names if name in known)
    if not names:
        raise LeakError(f"{asked.model} and {other} have no picture in common that both may be judged on")
    first, second = (subject.predictions.only(names) for subject in subjects)
    comparison = compare_models(first, second, subjects[0].radiographs.targets(names), resampling)
    leaks = [None if subject.leak is None else subject.leak.as_dict() for subject in subjects]
    facts = {"notice": NOTICE, "leak_guard": {"a": leaks[0], "b": leaks[1]}} | comparison.as_dict()
    sentences = [
        f"{side}: {text}" for side, subject in zip("AB", subjects, strict=True) for text in leak_sentences(subject)
    ]
    if comparison.mean_auroc is not None:
        sentences.append(f"On the mean AUROC: {comparison.mean_auroc.verdict}.")
    tell(facts, asked.out / "comparison.json", comparison_grids(comparison), as_json=as_json, sentences=sentences)
