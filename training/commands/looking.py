"""``localise`` and ``audit``: where a network looks, and whom it serves worse."""

from __future__ import annotations

import csv
from io import StringIO

from training.commands.models import (
    OUT,
    BundleArgument,
    CacheOption,
    DataOption,
    JsonOption,
    MissingOption,
    ModelArgument,
    OutOption,
    PartOption,
    SamplesOption,
    SeedOption,
    SeenOption,
    leak_sentences,
    page_words,
    subject_of,
    tell,
)
from training.data.cache_index import write_whole
from training.evaluation.assessment import score_boxes
from training.evaluation.audit import run_audit
from training.evaluation.audit_figures import Audit
from training.evaluation.box_protocol import localisation_values
from training.evaluation.evaluate import Resampling
from training.evaluation.leakage import SeenPolicy
from training.evaluation.localise import pointing_game
from training.output import writing_to
from training.reporting.audit_grids import group_grid, intersection_grid
from training.reporting.map_grids import box_grids, pointing_grid
from training.reporting.report import NOTICE, write_page
from training.reporting.sections import audit_section, localisation_section


def localise(
    bundle: BundleArgument,
    data: DataOption,
    out: OutOption = OUT,
    cache: CacheOption = None,
    part: PartOption = None,
    seen: SeenOption = SeenPolicy.REFUSE,
    seed: SeedOption = 0,
    allow_missing: MissingOption = False,
    as_json: JsonOption = False,
) -> None:
    """Score the class activation maps against the boxes that radiologists drew, finding by finding.

    The pointing game; boxes made from the maps by IoU and IoBB at Wang's thresholds with their false positives; the
    centre of the map's box; each beside a random and a central map and what maps of these few cells can reach at all.
    Only pictures with boxes are judged. Writes localisation.json and localisation.html with pictures of cases.
    """
    subject = subject_of(bundle, data, out, cache, part, seen, allow_missing=allow_missing, boxed_only=True)
    judged = subject.judged
    pointing = pointing_game(judged.maps, judged.examples.boxes, judged.predictions.trained)
    boxes = score_boxes(judged, seed)
    table = pointing_grid(pointing)
    grids = [*([table] if table else []), *box_grids(boxes)[-1:]]
    section = localisation_section(judged, pointing, boxes, subject.cache)
    with writing_to(out):
        write_page(subject.title, [section], out / "localisation.html", **page_words(subject))
    leak = subject.leak.as_dict() if subject.leak else None
    facts = {"notice": NOTICE, "model": subject.title, "part": subject.part, "pictures": len(subject.names)}
    facts |= {"leak_guard": leak, **localisation_values(pointing, boxes)}
    sentences = [*leak_sentences(subject), f"IoU and IoBB at every threshold, and cases: {out / 'localisation.html'}"]
    tell(facts, out / "localisation.json", grids, as_json=as_json, sentences=sentences)


def audit(
    model: ModelArgument,
    data: DataOption,
    out: OutOption = OUT,
    cache: CacheOption = None,
    part: PartOption = None,
    seen: SeenOption = SeenPolicy.REFUSE,
    samples: SamplesOption = 300,
    seed: SeedOption = 0,
    allow_missing: MissingOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say whether a model serves women and men, age bands and views alike, alone and two by two.

    AUROC, average precision, missed positives and calibration error of every finding in every group, and how many of
    the ill are passed over (underdiagnosis). Findings with fewer than 20 positives in a group are suppressed. Writes
    audit.json, audit.csv and audit.html.
    """
    subject = subject_of(model, data, out, cache, part, seen, allow_missing=allow_missing)
    judged = subject.judged
    found = run_audit(
        judged.predictions,
        judged.examples.targets,
        judged.entries,
        subject.points,
        Resampling(samples, seed),
        part=subject.part,
    )
    with writing_to(out):
        write_whole(audit_csv(found).encode(), out / "audit.csv")
        write_page(subject.title, [audit_section(found)], out / "audit.html", **page_words(subject))
    leak = subject.leak.as_dict() if subject.leak else None
    facts = {"notice": NOTICE, "model": subject.title, "leak_guard": leak, **found.as_dict()}
    grids = [group_grid(found), intersection_grid(found)]
    sentences = [*leak_sentences(subject), f"Every finding in every group: {out / 'audit.html'} and audit.csv"]
    tell(facts, out / "audit.json", grids, as_json=as_json, sentences=sentences)


def audit_csv(audit: Audit) -> str:
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
