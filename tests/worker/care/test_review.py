"""Reviews are kept once, audited, and are the truth that figures measure the model by."""

from __future__ import annotations

import pytest
from study_rows import add_study, add_triaged_study

from worker.care.review import ReviewRefused, write_review
from worker.figures.reviewed_truth import reviewed_findings
from worker.rows.database import SessionFactory
from worker.rows.site_tables import Event
from worker.rows.states import ReviewVerdict
from worker.rows.study_tables import Review, Study

AGREE, DISAGREE, MISSED = ReviewVerdict.AGREE, ReviewVerdict.DISAGREE, ReviewVerdict.MISSED


def reviewed_study(sessions: SessionFactory) -> tuple[str, int]:
    with sessions.begin() as session:
        study = add_triaged_study(session, {"Pneumothorax": 0.91, "Effusion": 0.7, "Mass": 0.2})
        assert study.current_run_id is not None
        return study.study_instance_uid, study.current_run_id


def test_verdicts_become_truth_and_repeating_them_makes_no_row(sessions: SessionFactory) -> None:
    uid, run = reviewed_study(sessions)
    verdicts = {"Pneumothorax": AGREE, "Effusion": DISAGREE, "Mass": AGREE, "Hernia": MISSED}
    for expected in (5, 0):
        with sessions.begin() as session:
            words = " Old rib fracture. " if expected else ""
            assert write_review(session, uid, run, verdicts, words, "reader") == expected
    with sessions() as session:
        truth = {item.finding: item.present for item in reviewed_findings(session)}
        assert truth == {"Pneumothorax": True, "Effusion": False, "Mass": False, "Hernia": True}
        assert [row.comment for row in session.query(Review).filter_by(verdict="comment")] == ["Old rib fracture."]
        events = session.query(Event).filter_by(kind="reviewed", actor="reader").all()
        assert [event.details["verdicts"]["Effusion"] for event in events] == ["disagree"]
        assert "fracture" not in str([event.details for event in events])


def test_a_changed_mind_is_a_new_row_and_the_last_word_counts(sessions: SessionFactory) -> None:
    uid, run = reviewed_study(sessions)
    for verdict in (AGREE, DISAGREE, AGREE):
        with sessions.begin() as session:
            assert write_review(session, uid, run, {"Pneumothorax": verdict}, "", "reader") == 1
    with sessions() as session:
        assert [item.present for item in reviewed_findings(session)] == [True]


def test_what_makes_no_sense_is_refused_and_nothing_of_it_kept(sessions: SessionFactory) -> None:
    uid, run = reviewed_study(sessions)
    with sessions.begin() as session:
        never = add_study(session).study_instance_uid
    for study, looked_at, verdicts, comment, why in (
        (uid, run + 1, {"Mass": AGREE}, "", "analysed again"),
        (uid, None, {"Mass": AGREE}, "", "analysed again"),
        (uid, run, {"Mass": AGREE, "Gout": AGREE}, "", "does not exist"),
        (uid, run, {"Mass": AGREE, "Pneumothorax": MISSED}, "", "was flagged"),
        (uid, run, {}, "x" * 4001, "at most 4000"),
        (never, None, {}, "words", "no result"),
    ):
        with pytest.raises(ReviewRefused, match=why), sessions.begin() as session:
            write_review(session, study, looked_at, verdicts, comment, "reader")
    with sessions() as session:
        assert session.query(Review).count() == 0
        assert session.get_one(Study, uid).priority == "STAT"
