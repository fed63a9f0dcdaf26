"""The one administrator's login: password hash in a file, attempts counted, sessions signed, posts protected.

Errors
------
LoginRequired       nobody is logged in; becomes a redirect to the login page, or 401 for anything but a page
ForgedRequest       a POST that did not come from our own page; becomes 403
PasswordFileError   the configured hash file is missing or holds no Argon2 hash
"""

from __future__ import annotations

import hmac
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from fastapi import Request

from worker.foundation.errors import StartError
from worklist.site import site_of

ADMINISTRATOR = "administrator"
LOCAL_READER = "local"
"""Name in the audit trail of whoever uses a page without login on its own machine."""
SESSION_SECONDS = 12 * 3600
MINIMUM_PASSWORD_LENGTH = 12
SECRET_FILE = "worklist-session.key"  # noqa: S105 (a file's name)


class LoginRequired(Exception):
    """Nobody is logged in."""


class ForgedRequest(Exception):
    """A changing request did not come from a page of ours."""


class PasswordFileError(StartError):
    """The file with the administrator's password hash cannot be used."""

    def __init__(self, path: Path | None, cause: str) -> None:
        super().__init__(f"password file {path}: {cause}; make one with `python -m worklist passwd FILE`")


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


def write_password_file(path: Path, password: str) -> None:
    """Write the Argon2id hash of a password, readable by its owner only.

    Raises
    ------
    ValueError
        The password is shorter than 12 characters.
    OSError
        The file cannot be written.
    """
    if len(password) < MINIMUM_PASSWORD_LENGTH:
        raise ValueError(f"the password must have at least {MINIMUM_PASSWORD_LENGTH} characters")
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    _write_private(partial, PasswordHasher().hash(password) + "\n")
    partial.replace(path)


def read_password_hash(path: Path | None) -> str:
    """Return the hash in the file.

    Raises
    ------
    PasswordFileError
        No file is configured, it cannot be read, or it holds no Argon2 hash.
    """
    if path is None:
        raise PasswordFileError(path, "worklist_password_hash_file is not set")
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise PasswordFileError(path, f"cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise PasswordFileError(path, "holds no Argon2 hash") from error
    if not text.startswith("$argon2"):
        raise PasswordFileError(path, "holds no Argon2 hash")
    return text


def password_matches(path: Path | None, password: str) -> bool:
    """Return whether this is the administrator's password; takes about 50 ms on purpose.

    Raises
    ------
    PasswordFileError
        The file cannot be used.
    """
    try:
        return PasswordHasher().verify(read_password_hash(path), password)
    except VerifyMismatchError:
        return False
    except InvalidHashError as error:
        raise PasswordFileError(path, "holds no Argon2 hash") from error


def session_secret(data_dir: Path) -> str:
    """Return the key that signs session cookies, drawn at the first start and kept in the data folder (mode 0600)."""
    path = data_dir / SECRET_FILE
    data_dir.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        partial = data_dir / f".{SECRET_FILE}.{secrets.token_hex(4)}"
        _write_private(partial, secrets.token_urlsafe(48))
        try:
            os.link(partial, path)  # of two first starts only one key stays
        except FileExistsError:
            return path.read_text(encoding="ascii")
        finally:
            partial.unlink()
    return path.read_text(encoding="ascii")


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def begin_session(request: Request, reader: str) -> None:
    """Start a fresh session for a person who has just proved who they are."""
    request.session.clear()
    request.session.update({"reader": reader, "since": int(time.time()), "csrf": secrets.token_urlsafe(24)})


def reader_of(request: Request) -> str:
    """Return who uses the page; a FastAPI dependency of everything that shows studies.

    Raises
    ------
    LoginRequired
        A login is required and nobody is logged in, or the session is too old.
    """
    if not site_of(request).login_required:
        return LOCAL_READER
    reader = request.session.get("reader")
    if reader is None or time.time() - request.session.get("since", 0) > SESSION_SECONDS:
        raise LoginRequired
    return str(reader)


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
