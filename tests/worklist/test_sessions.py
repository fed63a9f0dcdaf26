"""Sessions: cookies that stay inside TLS, and a logout that holds for every copy of one."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from httpx import AsyncClient, Client, Limits
from pages import PASSWORD, csrf_of, served
from study_rows import add_triaged_study, now

from worker.rows.database import SessionFactory
from worker.settings.config import Settings
from worklist.accounts import remove_account, write_password_file
from worklist.ended_sessions import FOLDER, EndedSessions
from worklist.login import SESSION_SECONDS

BY_TLS = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.9"}


@pytest.fixture
def guarded_settings(make_settings: Callable[..., Settings], sqlite_url: str, tmp_path: Path) -> Settings:
    file = tmp_path / "password"
    write_password_file(file, PASSWORD)
    write_password_file(file, PASSWORD, "second")
    return make_settings(database_url=sqlite_url, worklist_password_hash_file=file)


@contextmanager
def logged_in(settings: Settings, name: str = "administrator") -> Iterator[Client]:
    with served(settings) as url, Client(base_url=url, timeout=20) as client:
        log_in(client, name)
        yield client


def log_in(client: Client, name: str = "administrator") -> None:
    form = {"csrf": csrf_of(client.get("/login").text), "username": name, "password": PASSWORD}
    assert client.post("/login", data=form).status_code == 303


def cookie_words(client: Client, **headers: str) -> set[str]:
    """Return what the session's cookie says of itself, in small letters."""
    words = client.get("/login", headers=headers).headers["set-cookie"].lower().split("; ")
    return {word for word in words[1:] if not word.startswith("max-age")}


PRIVATE = {"path=/", "httponly", "samesite=lax"}


def test_the_cookie_never_leaves_tls_where_a_proxy_says_that_it_is_there(guarded_settings: Settings) -> None:
    with served(guarded_settings) as url:
        with Client(base_url=url, timeout=20) as client:
            assert cookie_words(client, **BY_TLS) == PRIVATE | {"secure"}
        with Client(base_url=url, timeout=20) as client:
            assert cookie_words(client) == PRIVATE


def test_the_cookie_never_leaves_tls_where_the_configuration_says_that_it_is_there(guarded_settings: Settings) -> None:
    by_tls = guarded_settings.model_copy(update={"page_url": "https://cxr.example.org"})
    with served(by_tls) as url, Client(base_url=url, timeout=20) as client:
        assert cookie_words(client) == PRIVATE | {"secure"}


def test_a_stranger_who_claims_tls_is_not_believed(guarded_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "192.0.2.50")
    with served(guarded_settings) as url, Client(base_url=url, timeout=20) as client:
        assert cookie_words(client, **BY_TLS) == PRIVATE


def test_a_copy_of_the_cookie_is_worth_nothing_after_the_logout_nor_after_a_restart(guarded_settings: Settings) -> None:
    with logged_in(guarded_settings) as client:
        stolen = client.cookies["cxr_session"]
        assert client.get("/api/studies").status_code == 200
        client.post("/logout", data={"csrf": csrf_of(client.get("/").text)})
        assert client.get("/api/studies").status_code == 401
        with Client(base_url=client.base_url, cookies={"cxr_session": stolen}) as thief:
            assert thief.get("/api/studies").status_code == 401
        log_in(client)
        assert client.get("/api/studies").status_code == 200, "who logs in again is let in"
        with Client(base_url=client.base_url, cookies={"cxr_session": stolen}) as thief:
            assert thief.get("/api/studies").status_code == 401
    with served(guarded_settings) as url, Client(base_url=url, cookies={"cxr_session": stolen}) as thief:
        assert thief.get("/api/studies").status_code == 401


def test_logging_out_in_one_browser_leaves_others_alone(guarded_settings: Settings) -> None:
    with logged_in(guarded_settings) as one, Client(base_url=one.base_url, timeout=20) as other:
        log_in(other)
        one.post("/logout", data={"csrf": csrf_of(one.get("/").text)})
        assert [client.get("/api/studies").status_code for client in (one, other)] == [401, 200]


def test_ended_sessions_are_forgotten_once_their_cookies_are_too_old(guarded_settings: Settings) -> None:
    folder = guarded_settings.data_dir / FOLDER
    with logged_in(guarded_settings) as client:
        client.post("/logout", data={"csrf": csrf_of(client.get("/").text)})
        (first,) = folder.iterdir()
        assert (folder.stat().st_mode & 0o777, first.stat().st_mode & 0o777) == (0o700, 0o600)
        long_ago = time.time() - SESSION_SECONDS - 60
        os.utime(first, (long_ago, long_ago))
        log_in(client)
        client.post("/logout", data={"csrf": csrf_of(client.get("/").text)})
    (second,) = folder.iterdir()
    assert second != first


def test_two_logouts_at_once_may_both_find_sessions_that_are_too_old(tmp_path: Path) -> None:
    sessions = EndedSessions(tmp_path, SESSION_SECONDS)
    long_ago = time.time() - SESSION_SECONDS - 60
    for turn in range(10):
        sessions.end("now")
        for number in range(200):
            file = tmp_path / FOLDER / f"old{number}"
            file.touch()
            os.utime(file, (long_ago, long_ago))
        with ThreadPoolExecutor(4) as people:
            list(people.map(sessions.end, [f"{turn}-{number}" for number in range(4)]))
        assert not list((tmp_path / FOLDER).glob("old*"))


def test_a_logout_that_cannot_be_written_down_says_so(guarded_settings: Settings) -> None:
    with logged_in(guarded_settings) as client:
        (guarded_settings.data_dir / FOLDER).touch()  # no folder can be made
        answer = client.post("/logout", data={"csrf": csrf_of(client.get("/").text)})
        assert answer.status_code == 503
        assert "in this browser only" in answer.text
        assert str(guarded_settings.data_dir) not in answer.text
        assert client.get("/api/studies").status_code == 401


@pytest.mark.parametrize("end", ["logout", "removed"])
def test_the_live_feed_ends_with_the_login(guarded_settings: Settings, writing: SessionFactory, end: str) -> None:
    with logged_in(guarded_settings, "second") as client, client.stream("GET", "/live") as feed:
        lines = feed.iter_lines()
        assert next(line for line in lines if line.startswith("event")) == "event: alive"
        if end == "logout":
            client.post("/logout", data={"csrf": csrf_of(client.get("/").text)})
        else:
            remove_account(guarded_settings.worklist_password_hash_file, "second")  # type: ignore[arg-type]
        with writing.begin() as session:
            add_triaged_study(session, {"Mass": 0.2}, now=now())
        assert [line for line in lines if line.startswith("event")] == []


def test_many_who_log_in_at_once_keep_nobody_from_the_page(guarded_settings: Settings, tmp_path: Path) -> None:
    """Logins are looked at one after the other; here the first waits for its file, as a slow disk lets it."""
    file, kept, pipe = guarded_settings.worklist_password_hash_file, tmp_path / "kept", tmp_path / "pipe"
    assert file is not None

    async def log_in_meanwhile(url: str) -> None:
        async with AsyncClient(base_url=url, timeout=30, limits=Limits(max_connections=None)) as client:
            form = {"csrf": csrf_of((await client.get("/login")).text), "password": PASSWORD}
            logins = [asyncio.create_task(client.post("/login", data=form)) for _ in range(60)]
            await asyncio.sleep(1.0)
            try:
                assert (await client.get("/healthz", timeout=5)).status_code == 200
            finally:
                file.rename(pipe)
                kept.rename(file)
                await asyncio.to_thread(pipe.write_text, file.read_text())
            assert {login.status_code for login in await asyncio.gather(*logins)} == {303}

    with served(guarded_settings) as url:
        file.rename(kept)
        os.mkfifo(file)
        asyncio.run(log_in_meanwhile(url))
