"""Whom a model serves worse: its figures in groups of patients and views."""

from __future__ import annotations

import csv
from io import StringIO

from training.data.cache_index import write_whole
from training.evaluation.audit import run_audit
from training.evaluation.audit_figures import Audit
from training.evaluation.evaluate import Resampling
from training.judging.asked import Asked
from training.judging.telling import leak_sentences, page_words, subject_of, tell
from training.output import writing_to
from training.reporting.audit_grids import group_grid, intersection_grid
from training.reporting.report import NOTICE, write_page
from training.reporting.sections import audit_section


def audit_groups(asked: Asked, resampling: Resampling, *, as_json: bool) -> None:
    """Judge every group, write ``audit.json``, ``audit.csv`` and ``audit.html``, and print the figures."""
    subject = subject_of(asked)
    judged = subject.judged
    found = run_audit(
        judged.predictions,
        judged.examples.targets,
        judged.entries,
        subject.points,
        resampling,
        part=subject.part,
    )
    with writing_to(asked.out):
        write_whole(_audit_csv(found).encode(), asked.out / "audit.csv")
        write_page(subject.title, [audit_section(found)], asked.out / "audit.html", **page_words(subject))
    leak = subject.leak.as_dict() if subject.leak else None
    facts = {"notice": NOTICE, "model": subject.title, "leak_guard": leak, **found.as_dict()}
    grids = [group_grid(found), intersection_grid(found)]
    sentences = [*leak_sentences(subject), f"Every finding in every group: {asked.out / 'audit.html'} and audit.csv"]
    tell(facts, asked.out / "audit.json", grids, as_json=as_json, sentences=sentences)


def _audit_csv(audit: Audit) -> str:
    """Return one line for each finding in each group; suppressed cells have no numbers."""
    stream = StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    figures = ("auroc", "auroc_low", "auroc_high", "average_precision", "ece", "false_negative_rate")
    writer.writerow(["attribute", "group", "pictures", "patients", "finding", "positives", *figures])
    for group in (audit.everyone, *audit.groups):
        for label, cell in group.as_dict()["findings"].items():
            numbers = ["suppressed", *[""] * 6]
            if cell is not None:
                numbers = [cell["positives"], *cell["auroc"]]
                numbers += [cell[name] for name in ("average_precision", "ece", "false_negative_rate")]
            writer.writerow([group.group.attribute, group.group.name, group.pictures, group.patients, label, *numbers])
    return stream.getvalue()
