"""Where a network looks, against the boxes that radiologists drew."""

from __future__ import annotations

from training.evaluation.assessment import score_boxes
from training.evaluation.box_protocol import localisation_values
from training.evaluation.localise import pointing_game
from training.judging.asked import Asked
from training.judging.telling import leak_sentences, page_words, subject_of, tell
from training.output import writing_to
from training.reporting.map_grids import box_grids, pointing_grid
from training.reporting.report import NOTICE, write_page
from training.reporting.sections import localisation_section


def localise_findings(asked: Asked, seed: int, *, as_json: bool) -> None:
    """Score the maps, write ``localisation.json`` and ``localisation.html``, and print the figures.

    Parameters
    ----------
    seed
        Of the resampling of the patients; the same seed gives the same intervals.
    """
    subject = subject_of(asked, boxed_only=True)
    judged = subject.judged
    pointing = pointing_game(judged.maps, judged.examples.boxes, judged.predictions.trained)
    boxes = score_boxes(judged, seed)
    table = pointing_grid(pointing)
    grids = [*([table] if table else []), *box_grids(boxes)[-1:]]
    section = localisation_section(judged, pointing, boxes, subject.cache)
    with writing_to(asked.out):
        write_page(subject.title, [section], asked.out / "localisation.html", **page_words(subject))
    leak = subject.leak.as_dict() if subject.leak else None
    facts = {"notice": NOTICE, "model": subject.title, "part": subject.part, "pictures": len(subject.names)}
    facts |= {"leak_guard": leak, **localisation_values(pointing, boxes)}
    where = f"IoU and IoBB at every threshold, and cases: {asked.out / 'localisation.html'}"
    sentences = [*leak_sentences(subject), where]
    tell(facts, asked.out / "localisation.json", grids, as_json=as_json, sentences=sentences)
