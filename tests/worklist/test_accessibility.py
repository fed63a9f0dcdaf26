"""Every page in both themes, wide and narrow, is free of serious findings of axe-core, in a real Chromium."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from browsers import add_pictures, serious_findings
from pages import served
from playwright.sync_api import Page, expect
from study_rows import add_study, add_triaged_study, now

from worker.rows.database import SessionFactory
from worker.rows.states import StudyState
from worker.settings.config import Settings
from worklist.accounts import write_password_file

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:playwright")


@pytest.mark.parametrize(
    ("theme", "width"), [pytest.param("dark", 1440, marks=pytest.mark.slow), ("light", 1440), ("dark", 400)]
)
def test_no_page_has_a_serious_violation(
    page: Page, page_settings: Settings, writing: SessionFactory, theme: str, width: int
) -> None:
    with writing.begin() as session:
        patient = {"patient_id": "P1", "now": now()}
        uid = add_triaged_study(
            session, {"Pneumothorax": 0.91, "Effusion": 0.7, "Mass": 0.1}, **patient
        ).study_instance_uid
        add_triaged_study(session, {"Effusion": 0.8}, minutes_ago=90, study_date="20250101", **patient)
        add_triaged_study(session, {"Mass": 0.1}, now=now(), read_at=now(), read_by="x")
        for state in StudyState:
            aside = add_study(session, now=now(), state=state, reason_code="x", reason="A reason.")
            failed = aside.study_instance_uid
    add_pictures(writing, page_settings, uid)
    page.add_init_script(f"localStorage.setItem('theme', '{theme}')")
    page.set_viewport_size({"width": width, "height": 900})
    with served(page_settings) as url:
        for path in (
            "/",
            "/?q=p1",
            "/?q=nobody",
            f"/studies/{uid}",
            "/try",
            "/models/default",
            "/operations",
            "/operations/model",
            "/operations/shadow",
            f"/operations/requeue?study={failed}",
            f"/studies/{uid}/change/override",
            f"/studies/{uid}/change/correct",
            f"/studies/{uid}/change/reject",
            f"/studies/{uid}/change/resend",
        ):
            page.goto(url + path)
            if path == f"/studies/{uid}":
                expect(page.locator("#stage")).to_have_attribute("data-scale", "1.00")
            assert serious_findings(page, path) == []


def test_the_login_page_has_no_serious_violation(
    page: Page, make_settings: Callable[..., Settings], sqlite_url: str, tmp_path: Path
) -> None:
    hash_file = tmp_path / "password"
    write_password_file(hash_file, "correct horse battery")
    with served(make_settings(database_url=sqlite_url, worklist_password_hash_file=hash_file)) as url:
        page.goto(url)
        expect(page.get_by_label("Password")).to_be_visible()
        assert serious_findings(page, "/login") == []
