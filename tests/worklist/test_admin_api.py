"""The admin API and ``python -m worker list``: the same rows, each once, as JSON and CSV; tokens that only read."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from httpx import Client
from pages import csrf_of, served
from sqlalchemy import Engine, select, text
from study_rows import add_study, add_triaged_study, now
from typer.testing import CliRunner

from worker.cli import app
from worker.figures.measures import MEANINGS
from worker.rows.database import SessionFactory
from worker.rows.site_tables import ApiToken, Event
from worker.rows.states import StudyState
from worker.rows.study_tables import Review, Study
from worker.settings.config import Settings
from worker.views.listing_pages import ListingRefused, Page, Wanted, parse_filter, read_page
from worker.views.listings import LISTINGS, Listing

pytestmark = pytest.mark.either_database

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
FORMULA = '=HYPERLINK("http://attacker.example")'
NAMES = sorted(LISTINGS)


def fill(sessions: SessionFactory) -> dict[str, str]:
    """Add a STAT study with a hostile accession number, a quiet one, one not analysed, and reviews."""
    with sessions.begin() as session:
        stat = add_triaged_study(
            session,
            {"Pneumothorax": 0.91, "Mass": 0.2},
            now=now(),
            patient_name="SECRET^NAME",
            accession_number=FORMULA,
        )
        quiet = add_triaged_study(session, {"Mass": 0.1}, now=now(), minutes_ago=90, read_at=now(), read_by="ben")
        add_study(
            session, now=now(), minutes_ago=3, state=StudyState.NOT_ANALYSED, reason_code="age", station_name="R1"
        )
        uids = {"stat": stat.study_instance_uid, "quiet": quiet.study_instance_uid}
        for finding, verdict, comment in (("Pneumothorax", "agree", "+seen"), ("Mass", "disagree", None)):
            session.add(
                Review(
                    study_instance_uid=uids["stat"], run_id=stat.current_run_id, finding=finding, verdict=verdict,
                    comment=comment, reviewer="anna", created_at=now(),
                )
            )  # fmt: skip
    return uids


def pages_of(
    sessions: SessionFactory, listing: Listing, between: Callable[[], None] = lambda: None, **wanted: Any
) -> list[Page]:
    pages: list[Page] = []
    while not pages or pages[-1].next:
        with sessions() as session:
            pages.append(read_page(session, listing, Wanted(after=pages[-1].next if pages else None, **wanted)))
        between()
    return pages


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_every_row_comes_once_in_one_order_whatever_the_page_size(
    sessions: SessionFactory, name: str, newest_first: bool
) -> None:
    fill(sessions)
    listing = LISTINGS[name]
    whole, small = (pages_of(sessions, listing, limit=limit, newest_first=newest_first) for limit in (1000, 2))
    rows = [row for page in small for row in page.rows]
    stable = [column for column in listing.columns if not column.endswith("hours_ago")]
    assert [{column: row[column] for column in stable} for row in rows] == [
        {column: row[column] for column in stable} for row in whole[0].rows
    ]
    keys = [tuple(row[part] for part in listing.key) for row in rows]
    assert len(rows) >= 2
    assert keys == sorted(set(keys), reverse=newest_first)


def test_rows_written_while_somebody_reads_page_by_page_come_at_the_end(sessions: SessionFactory) -> None:
    fill(sessions)

    def arrive() -> None:
        if len(arrived) < 3:
            with sessions.begin() as session:
                arrived.append(add_study(session, minutes_ago=0, now=now()).study_instance_uid)

    arrived: list[str] = []
    pages = pages_of(sessions, LISTINGS["studies"], arrive, limit=1)
    assert [row["study_instance_uid"] for page in pages for row in page.rows][3:] == arrived[:2] + arrived[2:]


FILTER_VALUES: dict[type, Any] = {str: "nothing is called so", bool: True}


@pytest.mark.parametrize("name", NAMES)
def test_every_filter_narrows_and_times_bound(sessions: SessionFactory, name: str) -> None:
    fill(sessions)
    listing = LISTINGS[name]

    def count(**wanted: Any) -> int:
        with sessions() as session:
            return len(read_page(session, listing, Wanted(limit=1000, **wanted)).rows)

    everything = count()
    for filter_name, each in listing.filters.items():
        if each.kind is bool:
            assert count(filters={filter_name: True}) + count(filters={filter_name: False}) == everything, filter_name
        else:
            assert count(filters={filter_name: "nothing is called so"}) == 0, filter_name
    moment = now() - timedelta(hours=1)
    assert count(since=moment) + count(until=moment) == everything
    with pytest.raises(ListingRefused, match="known are"):
        count(filters={"nonsense": 1})


def test_filters_find_what_they_name(sessions: SessionFactory) -> None:
    uids = fill(sessions)

    def uids_of(name: str, **filters: Any) -> set[str]:
        with sessions() as session:
            return {row["study_instance_uid"] for row in read_page(session, LISTINGS[name], Wanted(filters)).rows}

    assert uids_of("studies", finding="Pneumothorax") == {uids["stat"]}
    assert uids_of("studies", finding="Mass") == set(), "not flagged"
    assert uids_of("studies", unread=False) == {uids["quiet"]}
    assert uids_of("studies", accession=FORMULA, priority="STAT") == {uids["stat"]}
    assert uids_of("findings", flagged=True) == {uids["stat"]}
    assert uids_of("events", kind="triaged", study=uids["quiet"]) == {uids["quiet"]}
    assert uids_of("reviews", verdict="disagree") == {uids["stat"]}


def test_the_first_page_of_studies_is_read_by_an_index(engine: Engine, sessions: SessionFactory) -> None:
    fill(sessions)
    query = "SELECT * FROM triage_worklist ORDER BY first_received_at, study_instance_uid LIMIT 2"
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SET enable_seqscan = off"))
        plan = connection.execute(
            text(("EXPLAIN " if engine.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN ") + query)
        ).all()
    assert "ix_study_first_received_at_study_instance_uid" in str(plan)


@pytest.fixture
def site(page_settings: Settings, writing: SessionFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """The page on a filled database that commands find, too."""
    monkeypatch.setenv("CXR_DATABASE_URL", page_settings.effective_database_url)
    monkeypatch.setenv("CXR_DATA_DIR", str(page_settings.data_dir))
    fill(writing)
    with served(page_settings) as url, Client(base_url=url, timeout=30) as client:
        yield client


def command(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.stdout


def without_clock(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if not name.endswith("hours_ago")} for row in rows]


@pytest.mark.parametrize("name", NAMES)
def test_page_and_terminal_give_the_same_rows_as_json_and_csv(site: Client, name: str) -> None:
    answer = site.get(f"/api/v1/{name}", params={"limit": 1000})
    assert answer.status_code == 200, answer.text
    listed = json.loads(command("list", name, "--json", "--all"))
    assert without_clock(answer.json()["rows"]) == without_clock(listed["rows"]) != []
    as_csv = site.get(f"/api/v1/{name}", params={"limit": 1000, "format": "csv"})
    assert as_csv.headers["content-type"].startswith("text/csv")
    over_http, in_terminal = (
        without_clock(list(csv.DictReader(io.StringIO(words))))
        for words in (as_csv.text, command("list", name, "--csv", "--all", "--limit", "2"))
    )
    assert over_http == in_terminal
    for row, cells in zip(without_clock(answer.json()["rows"]), over_http, strict=True):
        for column, value in row.items():
            cell = cells[column].removeprefix("'")
            same = (
                json.loads(cell) == value
                if isinstance(value, bool | dict)
                else cell == str("" if value is None else value)
            )
            assert same, (column, value, cell)
    assert command("list", name)


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("name", NAMES)
def test_no_word_of_a_list_is_cut_in_two(
    site: Client, name: str, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = site.get(f"/api/v1/{name}", params={"limit": 1000}).json()["rows"]
    assert rows
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = command("list", name)
    assert max(len(line) for line in shown.splitlines()) <= columns
    words = {word.strip(",;.") for word in shown.split()}
    for row in rows:
        for column in LISTINGS[name].brief:
            value = row[column]
            if isinstance(value, str) and not column.endswith("_at") and column != "at":
                assert {word.strip(",;.") for word in value.split()} <= words, (column, value)
            elif column.endswith("_at") and value:
                assert {value[:10], value[11:19]} <= words


@pytest.mark.parametrize("columns", [80, 120])
def test_no_word_of_the_status_is_cut_in_two_and_nothing_is_said_twice(
    site: Client, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    del site
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = CliRunner().invoke(app, ["status"]).stdout
    figures = shown[shown.index("cxr_attention") :]
    assert max(len(line) for line in figures.splitlines()) <= columns
    meanings = [meaning for name, meaning in MEANINGS.items() if name in figures.split()]
    assert len(meanings) > 5
    assert all(" ".join(figures.split()).count(meaning) == 1 for meaning in meanings)


def test_a_csv_that_is_cut_says_so_beside_the_rows(site: Client) -> None:
    del site
    cut = CliRunner().invoke(app, ["list", "studies", "--csv", "--limit", "2"])
    assert len(list(csv.DictReader(io.StringIO(cut.stdout)))) == 2
    assert "There are more" in cut.stderr
    assert "--all" in cut.stderr
    whole = CliRunner().invoke(app, ["list", "studies", "--csv", "--limit", "2", "--all"])
    assert len(list(csv.DictReader(io.StringIO(whole.stdout)))) == 3
    assert whole.stderr == ""


def test_nothing_in_a_csv_starts_a_formula(site: Client) -> None:
    for name in ("studies", "reviews"):
        words = site.get(f"/api/v1/{name}", params={"format": "csv"}).text
        cells = [cell for row in csv.reader(io.StringIO(words)) for cell in row]
        assert any(cell.startswith(("'=", "'+")) for cell in cells)
        assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]


def test_the_next_page_is_linked_and_what_is_not_understood_is_refused(site: Client) -> None:
    first = site.get("/api/v1/events", params={"limit": 1, "kind": "received"})
    link = re.fullmatch(r'<(.+)>; rel="next"', first.headers["link"])
    assert link is not None
    second = site.get(link.group(1))
    second_answer = second.json()
    assert [row["kind"] for row in first.json()["rows"] + second_answer["rows"]] == ["received"] * 2
    assert second_answer["next"] is None
    assert "link" not in second.headers
    after = first.json()["next"]
    for params in (
        {"nonsense": "1"},
        {"limit": 1001},
        {"format": "xml"},
        {"after": "AAAA"},
        {"after": after + "x"},
        {"since": "yesterday"},
    ):
        assert site.get("/api/v1/events", params=params).status_code == 422, params
    assert site.get("/api/v1/runs", params={"after": after}).status_code == 422
    assert site.get("/api/v1/nothing").status_code == 404


@pytest.mark.parametrize(
    ("listing", "parameter", "words"),
    [
        ("studies", "priority=stat", "'STAT', 'URGENT' or 'ROUTINE'"),
        ("studies", "state=analysed", "'triaged'"),
        ("findings", "finding=Pleural thickening", "'Pleural_Thickening'"),
        ("deliveries", "kind=report", "'structured_report'"),
        ("reviews", "verdict=wrong", "'disagree'"),
    ],
)
def test_a_filter_that_can_find_nothing_is_refused_over_http(
    site: Client, listing: str, parameter: str, words: str
) -> None:
    refused = site.get(f"/api/v1/{listing}?{parameter}")
    assert (refused.status_code, words in refused.text) == (422, True)


def test_a_parameter_given_twice_is_refused_for_only_one_would_count(site: Client) -> None:
    refused = site.get("/api/v1/studies?priority=STAT&limit=5&priority=URGENT")
    assert (refused.status_code, refused.json()["detail"]) == (422, "Give priority once.")


def test_the_metrics_refuse_a_parameter_that_does_not_exist(site: Client) -> None:
    assert site.get("/api/v1/metrics?source=ER_DX").status_code == 422


def test_a_token_opens_a_guarded_api_for_reading_until_it_is_revoked(
    make_settings: Callable[..., Settings],
    sqlite_url: str,
    writing: SessionFactory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from worklist.accounts import write_password_file

    write_password_file(tmp_path / "password", "correct horse battery")
    guarded = {"worklist_host": "192.0.2.1", "worklist_password_hash_file": tmp_path / "password"}
    monkeypatch.setenv("CXR_DATABASE_URL", sqlite_url)
    monkeypatch.setenv("CXR_DATA_DIR", str(tmp_path / "data"))
    uid = fill(writing)["stat"]
    full, bare = (command("token", "create", *words).strip() for words in (["full"], ["bare", "--without-patients"]))
    command("token", "create", "short", "--days", "0.01")
    with served(make_settings(database_url=sqlite_url, **guarded)) as url, Client(base_url=url, timeout=30) as client:

        def get(token: str | None, path: str = "/api/v1/studies", **params: Any) -> Any:
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            return client.get(path, headers=headers, params={"finding": "Pneumothorax", **params})

        assert get(None).status_code == 401
        assert get(full).json()["rows"][0]["patient_name"] == "SECRET^NAME"
        hidden = get(bare)
        assert (hidden.status_code, hidden.json()["rows"][0]["study_instance_uid"]) == (200, uid)
        assert "SECRET" not in hidden.text + get(bare, format="csv").text
        for column, known in (("patient_id", "P1"), ("accession", "A1")):
            refused = get(bare, **{column: known})
            assert (refused.status_code, refused.json()["detail"].count(column)) == (422, 1)  # it would tell whose
            assert get(full, **{column: known}).status_code == 200
        for wrong in ("nonsense", full + "x", "cxr_" + "A" * 43):
            assert get(wrong).status_code == 401
        token_in_a_form = {"csrf": full}
        answer = client.post(f"/studies/{uid}/read", headers={"Authorization": f"Bearer {full}"}, data=token_in_a_form)
        assert answer.status_code in (401, 403)
        command("token", "revoke", "full")
        assert get(full).status_code == 401
    with writing() as session:
        assert session.get_one(Study, uid).read_at is None
        rows = {row.name: row for row in session.scalars(select(ApiToken))}
        assert rows["bare"].last_used_at is not None
        assert full not in str([vars(row) for row in rows.values()])
        kinds = session.scalars(select(Event.kind).where(Event.kind.like("token_%")).order_by(Event.id)).all()
    assert kinds == ["token_created"] * 3 + ["token_revoked"]


def test_an_expired_token_and_one_on_a_page_without_login_are_refused(site: Client, writing: SessionFactory) -> None:
    token = command("token", "create", "grafana", "--days", "1").strip()
    header = {"Authorization": f"Bearer {token}"}
    assert site.get("/api/v1/runs", headers=header).status_code == 200
    with writing.begin() as session:
        session.scalars(select(ApiToken)).one().expires_at = now() - timedelta(seconds=1)
    assert site.get("/api/v1/runs", headers=header).status_code == 401
    assert site.get("/api/v1/runs", headers={"Authorization": "Basic eDp5"}).status_code == 401
    listed = json.loads(command("token", "list", "--json"))
    assert (listed[0]["name"], listed[0]["patients"]) == ("grafana", True)
    again = CliRunner().invoke(app, ["token", "create", "grafana"])
    assert "exists; revoke it first" in str(again.exception)
    assert csrf_of(site.get("/").text), "the page itself is still open on this machine"


def test_openapi_and_the_document_name_every_parameter_and_column(site: Client) -> None:
    described = site.get("/api/openapi.json").json()
    for name, listing in LISTINGS.items():
        operation = described["paths"][f"/api/v1/{name}"]["get"]
        shared = {"since", "until", "after", "limit", "newest_first", "format"}
        assert {parameter["name"] for parameter in operation["parameters"]} == shared | set(listing.filters)
        assert {"application/json", "text/csv"} <= set(operation["responses"]["200"]["content"])
        row = described["components"]["schemas"][f"{name.capitalize()}Row"]["properties"]
        assert {column: words["description"] for column, words in row.items()} == {
            column: each.meaning for column, each in listing.columns.items()
        }
        section = next(part for part in DOCUMENT.split("\n## ") if part.startswith(f"`{name}`"))
        assert re.search(r"Narrowed by (.+)\.\n", section)
        assert re.findall(r"`(\w+)`", re.findall(r"Narrowed by (.+)\.\n", section)[0]) == list(listing.filters)
        if name != "studies":
            assert re.findall(r"^\| `(\w+)` \| (.+) \|$", section, re.M) == [
                (column, each.meaning) for column, each in listing.columns.items()
            ]


@pytest.mark.parametrize("text", ["state=analysed", "priority=stat", "finding=Fracture"])
def test_a_filter_that_can_find_nothing_is_refused_in_the_terminal(text: str) -> None:
    with pytest.raises(ListingRefused, match=f"{text.partition('=')[0]} is one of .*, not '"):
        parse_filter(LISTINGS["studies"], text)
    assert parse_filter(LISTINGS["studies"], "station=any text") == ("station", "any text")
