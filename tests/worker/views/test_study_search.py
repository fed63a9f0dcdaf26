"""Groups as SQL and as Python agree; searches find what they say, page by page, through an index on both databases."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from slow_cases import mostly_slow
from sqlalchemy import event, select, text
from study_rows import NOW, add_study, add_triaged_study

from benchmarks.many_studies import fill
from worker.rows.database import SessionFactory
from worker.rows.states import StudyState
from worker.rows.study_tables import Study, StudyWord
from worker.rows.study_words import words_of
from worker.views.group_conditions import condition
from worker.views.studies import Group, StudyFilter, list_studies
from worker.views.study_search import Found, Search, SearchOrder, SearchRefused, find_studies, known_sources
from worker.views.worklist_groups import read_worklist
from worklist.list_page import asked

UPPER_WAIT = timedelta(minutes=60)
STUDIES = 600


def found(sessions: SessionFactory, **wanted: Any) -> Found:
    with sessions() as session:
        return find_studies(session, Search(**wanted), NOW, UPPER_WAIT)


def uids(page: Found) -> list[str]:
    return [line.study_instance_uid for line in page.lines]


@pytest.mark.either_database
def test_every_study_stands_in_the_one_group_that_its_line_names(sessions: SessionFactory) -> None:
    shapes = itertools.product(StudyState, (None, "STAT", "URGENT", "ROUTINE"), (False, True), (5, 90), (None, NOW))
    with sessions.begin() as session:
        for number, (state, priority, historical, minutes, read_at) in enumerate(shapes):
            fields = {"state": state, "priority": priority, "historical": historical, "read_at": read_at}
            add_study(session, minutes_ago=minutes, priority_rank=number * 7 % 10 / 10, **fields)
    with sessions() as session:
        members = {
            group: set(session.scalars(select(Study.study_instance_uid).where(condition(group, NOW, UPPER_WAIT))))
            for group in Group
        }
        lines = list_studies(session, NOW, UPPER_WAIT, StudyFilter(limit=1000))
        for line in lines:
            assert [group for group in Group if line.study_instance_uid in members[group]] == [line.group], line
        worklist = read_worklist(session, NOW, UPPER_WAIT)
        assert sum(group.total for group in worklist.groups) == 8 * 4 * 2 * 2 * 2
        assert all(line.group is group.group for group in worklist.groups for line in group.lines)
        for group in (Group.OVERDUE, Group.STAT, Group.URGENT, Group.ROUTINE):
            in_order = [line for line in lines if line.group is group and not line.historical]
            assert [line for line in worklist.lines(group) if not line.historical] == in_order


@pytest.mark.either_database
def test_words_are_found_by_their_beginnings_without_case_and_accents(sessions: SessionFactory) -> None:
    with sessions.begin() as session:
        anna = add_study(session, patient_name="Müller-Lüden^Anna", patient_id="PID-0042", accession_number="A%1")
        bert = add_study(session, patient_name="MULLER^BERT", patient_id="PID-0043", accession_number="A11")
        long = add_study(session, patient_name="L" * 80)
        expected = {"anna": anna.study_instance_uid, "bert": bert.study_instance_uid}
        longest = long.study_instance_uid
    both = sorted(expected.values())
    for words, wanted in (
        ("mull", both), ("MÜLLER", both), ("müll, an", [expected["anna"]]), ("lüden", [expected["anna"]]),
        ("pid-0043", [expected["bert"]]), ("0042", [expected["anna"]]), ("a%", [expected["anna"]]), ("uller", []),
        (expected["bert"], [expected["bert"]]), ("muller charlie", []), ("l" * 80, [longest]),
    ):  # fmt: skip
        assert sorted(uids(found(sessions, text=words))) == wanted, words


@pytest.mark.either_database
def test_a_study_is_found_by_its_corrected_name_only(sessions: SessionFactory) -> None:
    with sessions.begin() as session:
        study = add_study(session, patient_name="WRONG^NAME")
        uid = study.study_instance_uid
    with sessions.begin() as session:
        session.get_one(Study, uid).patient_name = "RIGHT^NAME"
    assert uids(found(sessions, text="right")) == [uid]
    assert uids(found(sessions, text="wrong")) == []


def test_endless_names_make_few_short_words() -> None:
    words = words_of("X" * 4000, " ".join(f"w{number}" for number in range(500)))
    assert len(words) == 40
    assert max(map(len, words)) == 64


@pytest.mark.either_database
@pytest.mark.parametrize("order", mostly_slow(SearchOrder, SearchOrder.URGENCY, SearchOrder.PATIENT))
def test_pages_hold_every_study_once_whatever_arrives_meanwhile(sessions: SessionFactory, order: SearchOrder) -> None:
    with sessions.begin() as session:
        there = {
            add_triaged_study(
                session,
                {"Mass": 0.7},
                minutes_ago=number // 3,
                patient_name="SAME^NAME",
                priority=("STAT", "URGENT", None)[number % 3],
                priority_rank=number % 4 / 7,
            ).study_instance_uid
            for number in range(120)
        }
    first = found(sessions, order=order)
    with sessions.begin() as session:
        newcomer = add_study(session, minutes_ago=0.1, patient_name="AAA").study_instance_uid
    pages = [first]
    while pages[-1].next:
        pages.append(found(sessions, order=order, after=pages[-1].next))
    seen = [uid for page in pages for uid in uids(page)]
    assert len(pages) == 3
    assert len(seen) == len(set(seen))
    assert set(seen) - {newcomer} == there
    if order is SearchOrder.URGENCY:
        ranks = [(line.priority or "X", -line.priority_rank) for page in pages for line in page.lines]
        assert ranks == sorted(ranks), "STAT, URGENT, none, and the higher rank first"


@pytest.mark.either_database
def test_the_most_urgent_unread_begin_with_the_level_that_a_person_set(sessions: SessionFactory) -> None:
    with sessions.begin() as session:
        added = {
            "analysed before it": add_triaged_study(session, {"Effusion": 0.9}, priority_rank=0.8),
            "lowered by a person": add_triaged_study(
                session, {"Pneumothorax": 0.9}, priority="ROUTINE", priority_rank=0.97
            ),
            "not analysed": add_study(session, state=StudyState.FAILED),
            "raised by a person": add_triaged_study(session, {"Mass": 0.2}, priority="STAT", priority_rank=0.0),
            "read": add_triaged_study(session, {"Pneumothorax": 0.9}, priority_rank=0.97, read_at=NOW),
            "found by the machine": add_triaged_study(session, {"Pneumothorax": 0.9}, priority_rank=0.97),
        }
        names = {study.study_instance_uid: name for name, study in added.items()}
    assert [names[uid] for uid in uids(found(sessions, order=SearchOrder.URGENCY))] == [
        "found by the machine", "raised by a person", "analysed before it", "lowered by a person", "not analysed"
    ]  # fmt: skip


@pytest.mark.either_database
def test_a_page_of_another_order_is_refused(sessions: SessionFactory) -> None:
    with sessions.begin() as session:
        for _ in range(50):
            add_study(session)
    assert found(sessions).next == "", "a full page is the last one where no study is left"
    with sessions.begin() as session:
        add_study(session)
    after = found(sessions).next
    for wrong in (after[:-6], "x", after):
        with pytest.raises(SearchRefused, match="first page"):
            found(sessions, order=SearchOrder.PATIENT, after=wrong)


@pytest.mark.either_database
def test_filters_narrow_together_and_findings_are_those_of_the_current_run(sessions: SessionFactory) -> None:
    with sessions.begin() as session:
        wanted = add_triaged_study(session, {"Effusion": 0.9}, calling_ae_title="ER").study_instance_uid
        add_triaged_study(session, {"Effusion": 0.9}, calling_ae_title="WARD")
        add_triaged_study(session, {"Effusion": 0.2}, calling_ae_title="ER")
        add_triaged_study(session, {"Effusion": 0.9}, calling_ae_title="ER").current_run_id = None
        add_triaged_study(session, {"Effusion": 0.9}, calling_ae_title="ER", minutes_ago=200)
    page = found(sessions, finding="Effusion", source="ER", priority="URGENT", since=NOW - timedelta(hours=1))
    assert (uids(page), page.total, page.next) == ([wanted], 1, "")
    assert found(sessions, finding="Effusion").total == 3, "flagged, in the run that counts"
    received = NOW - timedelta(minutes=200)
    assert found(sessions, since=received, until=NOW - timedelta(minutes=5)).total == 1, (
        "from the one to before the other"
    )
    with sessions() as session:
        assert known_sources(session) == ("ER", "WARD")


def test_the_days_of_the_form_are_those_of_the_site_and_both_included() -> None:
    form = asked(since="2026-03-02", until="2026-03-03").search(ZoneInfo("Europe/Berlin"))
    assert form.since == datetime(2026, 3, 1, 23, tzinfo=UTC)
    assert form.until == datetime(2026, 3, 3, 23, tzinfo=UTC)
    assert not asked(since="3.2.2026", group="unknown", order="unknown").search(ZoneInfo("UTC")).narrows


QUESTIONS: dict[str, dict[str, Any]] = {
    "first page": {},
    "oldest": {"order": SearchOrder.OLDEST},
    "by patient": {"order": SearchOrder.PATIENT},
    "urgency": {"order": SearchOrder.URGENCY, "group": Group.STAT},
    "text": {"text": "smith anna"},
    "finding": {"finding": "Pneumothorax"},
    "source": {"source": "DX_ER"},
    "state": {"state": "failed"},
    "days": {"since": NOW - timedelta(days=2), "until": NOW},
    "group": {"group": Group.FAILED},
}


def test_the_list_and_every_search_go_through_an_index(sessions: SessionFactory) -> None:
    engine = sessions.kw["bind"]
    fill(engine, STUDIES)
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        asked.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    for wanted in QUESTIONS.values():
        assert found(sessions, **wanted).lines or wanted.get("since")
    with sessions() as session:
        read_worklist(session, NOW, UPPER_WAIT)
        known_sources(session)
    event.remove(engine, "before_cursor_execute", note)
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":  # so few rows are best read at once
            connection.execute(text("SET enable_seqscan = off"))
        for statement, parameters in asked:
            if "FROM" not in statement or "FROM study" not in statement:
                continue
            explain = "EXPLAIN QUERY PLAN " if engine.dialect.name == "sqlite" else "EXPLAIN "
            plan = [str(row) for row in connection.exec_driver_sql(explain + statement, parameters)]
            whole = [step for step in plan if "Seq Scan" in step or ("SCAN study" in step and "USING" not in step)]
            assert whole == [], f"{statement}\n{plan}"


def test_words_are_those_that_the_migration_writes_for_older_studies(sessions: SessionFactory) -> None:
    with sessions.begin() as session:
        uid = add_study(
            session, patient_name="Müller-Lü^Anna=X^Y", patient_id="a-b", accession_number=""
        ).study_instance_uid
    with sessions() as session:
        kept = {row.word for row in session.query(StudyWord).filter_by(study_instance_uid=uid)}
    assert kept == {"muller-lu", "muller", "lu", "anna", "x", "y", "a-b", "a", "b"}
