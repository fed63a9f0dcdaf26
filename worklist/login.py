"""Who uses the page: attempts to log in are counted, sessions signed, posts protected, roles asked for.

Errors
------
LoginRequired       nobody is logged in; becomes a redirect to the login page, or 401 for anything but a page
ForgedRequest       a POST that did not come from our own page; becomes 403
NotAllowed          who is logged in is no administrator; becomes 403
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from fastapi import Request

from worklist.accounts import Account, PasswordFileError, Role, read_accounts, write_private
from worklist.ended_sessions import EndedSessions
from worklist.site import site_of

logger = logging.getLogger(__name__)

LOCAL_READER = "local"
"""Name in the audit trail of whoever uses a page without login on its own machine."""
SESSION_SECONDS = 12 * 3600
SECRET_FILE = "worklist-session.key"  # noqa: S105 (a file's name)


class LoginRequired(Exception):
    """Nobody is logged in."""


class ForgedRequest(Exception):
    """A changing request did not come from a page of ours."""


class NotAllowed(Exception):
    """Who is logged in may not do this."""


class LoginGuard:
    """Counts failed logins and refuses more for a while.

    Parameters
    ----------
    attempts
        Failures one address may make within the window.
    attempts_of_all
        Failures all addresses together may make within the window, against guesses spread over many.
    window_seconds
        How long a failure counts.
    clock
        Seconds that only grow.
    """

    def __init__(
        self,
        attempts: int = 5,
        attempts_of_all: int = 50,
        window_seconds: float = 300.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._attempts = attempts
        self._attempts_of_all = attempts_of_all
        self._window_seconds = window_seconds
        self._clock = clock
        self._failures: list[tuple[float, str]] = []
        self.one_at_a_time = asyncio.Lock()
        """Held from the question whether an attempt may be made until it is noted: attempts made all at once would
        otherwise all be allowed, and each hash takes 64 MB to compute. Who waits does so in the event loop: in threads
        they would keep everybody from the worklist."""

    def wait_seconds(self, address: str) -> float:
        """Return how long this address must wait before its next attempt; 0 when it may try now."""
        now = self._clock()
        self._failures = [(at, who) for at, who in self._failures if now - at < self._window_seconds]
        own = [at for at, who in self._failures if who == address]
        waits = [0.0]
        if len(own) >= self._attempts:
            waits.append(own[-self._attempts] + self._window_seconds - now)
        if len(self._failures) >= self._attempts_of_all:
            waits.append(self._failures[-self._attempts_of_all][0] + self._window_seconds - now)
        return max(waits)

    def failed(self, address: str) -> None:
        """Note a wrong password."""
        self._failures.append((self._clock(), address))

    def succeeded(self, address: str) -> None:
        """Forget the failures of an address that knew the password."""
        self._failures = [(at, who) for at, who in self._failures if who != address]


def session_secret(data_dir: Path) -> str:
    """Return the key that signs session cookies, drawn at the first start and kept in the data folder (mode 0600)."""
    path = data_dir / SECRET_FILE
    data_dir.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        partial = data_dir / f".{SECRET_FILE}.{secrets.token_hex(4)}"
        write_private(partial, secrets.token_urlsafe(48))
        try:
            os.link(partial, path)  # of two first starts only one key stays
        except FileExistsError:
            return path.read_text(encoding="ascii")
        finally:
            partial.unlink()
    return path.read_text(encoding="ascii")


def begin_session(request: Request, account: Account) -> None:
    """Start a fresh session for a person who has just proved who they are."""
    request.session.clear()
    known = {"reader": account.name, "hash": fingerprint(account), "name": secrets.token_hex(16)}
    request.session.update(known | {"since": int(time.time()), "csrf": secrets.token_urlsafe(24)})


def end_session(request: Request) -> None:
    """End the session here and for every copy of its cookie.

    Raises
    ------
    OSError
        The copies cannot be ended: the data folder cannot be written.
    """
    name = request.session.get("name")
    request.session.clear()
    csrf_token(request)
    if name is not None:
        ended: EndedSessions = request.app.state.ended_sessions
        ended.end(str(name))


def reader_of(request: Request) -> str:
    """Return who uses the page; a FastAPI dependency of everything that shows studies.

    Raises
    ------
    LoginRequired
        A login is required and nobody is logged in, the session is too old, or the account is gone.
    """
    if not site_of(request).login_required:
        return LOCAL_READER
    account = account_in(request)
    if account is None:
        raise LoginRequired
    return account.name


def administrator_of(request: Request) -> str:
    """Return the administrator who uses the page; whoever needs no login is one.

    Raises
    ------
    LoginRequired
        See `reader_of`.
    NotAllowed
        It is somebody else.
    """
    reader = reader_of(request)
    if not is_administrator(request):
        raise NotAllowed
    return reader


def is_administrator(request: Request) -> bool:
    """Whether the operations pages are open to who uses the page."""
    if not site_of(request).login_required:
        return True
    account = account_in(request)
    return account is not None and account.role is Role.ADMINISTRATOR


def is_logged_in(request: Request) -> bool:
    """Whether whoever began this request may still see studies: the login may have ended since."""
    return not site_of(request).login_required or account_in(request) is not None


def account_in(request: Request) -> Account | None:
    """Return the account of this session as the password file has it now; None = nobody is logged in."""
    name, session_name = request.session.get("reader"), request.session.get("name")
    if name is None or session_name is None or time.time() - request.session.get("since", 0) > SESSION_SECONDS:
        return None
    ended: EndedSessions = request.app.state.ended_sessions
    if ended.has_ended(str(session_name)):
        return None
    try:
        account = read_accounts(site_of(request).settings.worklist_password_hash_file).get(str(name))
    except PasswordFileError:
        logger.exception("nobody can be logged in")
        return None
    return account if account and request.session.get("hash") == fingerprint(account) else None


def fingerprint(account: Account) -> str:
    """Return what a session remembers of a password's hash: a new password ends the sessions of the old one."""
    return hashlib.sha256(account.password_hash.encode()).hexdigest()[:16]


def csrf_token(request: Request) -> str:
    """Return the token that this session's forms carry."""
    if "csrf" not in request.session:
        request.session["csrf"] = secrets.token_urlsafe(24)
    return str(request.session["csrf"])


def require_own_form(request: Request, token: str) -> None:
    """Refuse a POST that another site made the browser send.

    Raises
    ------
    ForgedRequest
        The form's token is not the session's, or the browser says that another site sent it.
    """
    elsewhere = request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none")
    expected = str(request.session.get("csrf", ""))
    if elsewhere or not expected or not hmac.compare_digest(expected.encode(), token.encode()):
        raise ForgedRequest
