"""The forms with which a person overrules the machine, on the real page."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from httpx import Client, Response
from pages import served
from sqlalchemy import select
from study_rows import add_triaged_study, now

from dicom_io.storing.instance_store import InstanceStore
from worker.rows.database import SessionFactory
from worker.rows.delivery_tables import Delivery
from worker.rows.site_tables import Event
from worker.rows.states import DeliveryState
from worker.rows.study_tables import Instance, Study
from worker.settings.config import Settings

SAID = {"reason": "looked at it", "by": "Ada Admin"}


@pytest.fixture
def browser(page_settings: Settings) -> Iterator[Client]:
    InstanceStore(page_settings.results_dir).require_free_space()  # the store is there, and what its rows name is lost
    with served(page_settings) as url, Client(base_url=url, follow_redirects=True, timeout=30) as client:
        yield client


@pytest.fixture
def uid(writing: SessionFactory) -> str:
    with writing.begin() as session:
        probabilities = {"Pneumothorax": 0.91}
        study = add_triaged_study(session, probabilities, now=now(), patient_name="DOE^JANE", patient_birth_date="")
        return study.study_instance_uid


def done(browser: Client, uid: str, deed: str, **fields: Any) -> Response:
    """Open the form, fill it in and send it."""
    path = f"/studies/{uid}/change/{deed}"
    html = browser.get(path).text
    assert "DOE, JANE" in html, "the patient is in sight"
    return browser.post(path, data={**hidden(html), **SAID, **fields})


def hidden(html: str) -> dict[str, str]:
    """Return what a form sends that nobody sees."""
    form = html[html.index('<form method="post" class="confirm deed">') :]
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form))


def filled_in(html: str) -> dict[str, str]:
    """Return the fields of the identity as the form has them."""
    return dict(re.findall(r'<input name="(patient_id|patient_name|accession_number)" value="([^"]*)"', html))


def test_a_priority_is_not_lowered_by_whom_its_rise_was_not_shown(
    browser: Client, writing: SessionFactory, uid: str
) -> None:
    path = f"/studies/{uid}/change/override"
    with writing.begin() as session:
        session.get_one(Study, uid).priority = "URGENT"
    html = browser.get(path).text
    with writing.begin() as session:
        session.get_one(Study, uid).priority = "STAT"
    answer = browser.post(path, data={**hidden(html), **SAID, "priority": "ROUTINE"})
    assert (answer.status_code, study_of(writing, uid).priority) == (409, "STAT")
    assert "has changed since this form was opened" in answer.text
    again = browser.post(path, data={**hidden(answer.text), **SAID, "priority": "ROUTINE"})
    assert (again.status_code, study_of(writing, uid).priority) == (200, "ROUTINE")


def test_a_form_with_an_older_identity_does_not_bring_it_back(
    browser: Client, writing: SessionFactory, uid: str
) -> None:
    """Whoever corrects the accession number must not move the study back to the patient it came under."""
    path = f"/studies/{uid}/change/correct"
    html = browser.get(path).text
    with writing.begin() as session:  # as an HL7 message does meanwhile
        session.get_one(Study, uid).patient_id = "RIGHT-PATIENT"
    fields = filled_in(html) | {"accession_number": "A-NEW"}
    answer = browser.post(path, data={**hidden(html), **SAID, **fields})
    assert (answer.status_code, study_of(writing, uid).patient_id) == (409, "RIGHT-PATIENT")
    fields = filled_in(answer.text) | {"accession_number": "A-NEW"}
    again = browser.post(path, data={**hidden(answer.text), **SAID, **fields})
    assert again.status_code == 200, again.text
    corrected = study_of(writing, uid)
    assert (corrected.patient_id, corrected.accession_number) == ("RIGHT-PATIENT", "A-NEW")


def study_of(writing: SessionFactory, uid: str) -> Study:
    with writing() as session:
        return session.get_one(Study, uid)


def test_the_study_page_offers_what_a_person_can_do(browser: Client, uid: str) -> None:
    html = browser.get(f"/studies/{uid}").text
    for deed in ("override", "correct", "reject", "retract"):
        assert f'href="/studies/{uid}/change/{deed}"' in html


def test_a_priority_is_set_and_shown_with_who_and_why(browser: Client, writing: SessionFactory, uid: str) -> None:
    answer = done(browser, uid, "override", priority="ROUTINE")
    assert answer.status_code == 200
    assert "Set by Ada Admin: looked at it" in answer.text
    assert study_of(writing, uid).priority == "ROUTINE"


def test_a_retracted_study_says_so_and_counts_what_is_left(browser: Client, writing: SessionFactory, uid: str) -> None:
    answer = done(browser, uid, "retract")
    assert "Ada Admin took the results back: looked at it" in answer.text
    assert "2 of 2 sent objects and messages that do not hold any more are still in force" in answer.text
    assert f"/studies/{uid}/change/override" not in answer.text, "it has no priority any more"
    assert study_of(writing, uid).reason_code == "retracted"


def test_only_what_differs_is_corrected(browser: Client, writing: SessionFactory, uid: str) -> None:
    before = study_of(writing, uid)
    same = {"patient_id": before.patient_id, "accession_number": before.accession_number, "patient_sex": "F"}
    answer = done(browser, uid, "correct", **same, patient_name="DOE^JOAN")
    assert answer.status_code == 200, answer.text
    with writing() as session:
        event = session.scalars(select(Event).where(Event.kind == "identity_corrected")).one()
    assert (event.actor, event.details) == ("Ada Admin", {"columns": ["patient_name"]})
    assert study_of(writing, uid).patient_name == "DOE^JOAN"


def test_an_image_is_declared_invalid(browser: Client, writing: SessionFactory, uid: str) -> None:
    with writing() as session:
        image = session.scalars(select(Instance).where(Instance.study_instance_uid == uid)).one().sop_instance_uid
    answer = done(browser, uid, "reject", image=image, because="quality")
    assert "Rejected for Quality Reasons, said by Ada Admin" in answer.text
    assert study_of(writing, uid).priority is None


def test_results_are_sent_again_to_the_destinations_chosen(
    make_settings: Callable[..., Settings], page_settings: Settings, writing: SessionFactory, uid: str
) -> None:
    archives = [{"name": name, "ae_title": "PACS", "host": "127.0.0.1", "port": 104} for name in ("pacs", "vna")]
    settings = make_settings(database_url=page_settings.effective_database_url, destinations=archives)
    with served(settings) as url, Client(base_url=url, follow_redirects=True, timeout=30) as browser:
        assert f'href="/studies/{uid}/change/resend"' in browser.get(f"/studies/{uid}").text
        answer = done(browser, uid, "resend", destination="pacs", reason="archive restored")
        assert answer.status_code == 200, answer.text
        nowhere = done(browser, uid, "resend")
    assert (nowhere.status_code, "choose at least one destination" in nowhere.text) == (409, True)
    with writing() as session:
        event = session.scalars(select(Event).where(Event.kind == "resend")).one()
        states = session.scalars(select(Delivery.state).where(Delivery.destination == "pacs")).all()
    assert (event.actor, event.reason) == ("Ada Admin", "sent again (archive restored): 2 to pacs")
    assert set(states) == {DeliveryState.PENDING}


@pytest.mark.parametrize(
    ("deed", "fields", "words"),
    [
        ("override", {"priority": "STAT", "reason": " "}, "say the reason"),
        ("override", {"priority": "STAT", "by": ""}, "say the name"),
        ("override", {}, "choose a priority"),
        ("reject", {}, "choose at least one image"),
        ("reject", {"image": "1.2.3"}, "has no image 1.2.3"),
        ("correct", {}, "nothing to correct"),
        ("correct", {"patient_birth_date": "1.1.1960"}, "a date as YYYYMMDD"),
    ],
)
def test_what_is_missing_is_said_on_the_form_and_nothing_changes(
    browser: Client, writing: SessionFactory, uid: str, deed: str, fields: dict[str, str], words: str
) -> None:
    answer = done(browser, uid, deed, **fields)
    assert (answer.status_code, words in answer.text) == (409, True), answer.text
    with writing() as session:
        kinds = set(session.scalars(select(Event.kind)))
    assert kinds - {"viewed"} == {"received", "queued", "claimed", "triaged"}


def test_a_form_from_elsewhere_does_nothing(browser: Client, writing: SessionFactory, uid: str) -> None:
    browser.get(f"/studies/{uid}")
    answer = browser.post(f"/studies/{uid}/change/retract", data={"csrf": "guessed", **SAID})
    assert answer.status_code == 403
    assert study_of(writing, uid).retracted_at is None
    assert browser.get("/studies/1.2.3/change/retract").status_code == 404
    assert browser.get(f"/studies/{uid}/change/delete").status_code == 422
