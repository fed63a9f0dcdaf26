"""Logging in and out."""

from __future__ import annotations

import logging
import math
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from worklist.accounts import ADMINISTRATOR, PasswordFileError, account_of
from worklist.login import LoginGuard, begin_session, end_session, require_own_form
from worklist.render import message_page, page
from worklist.site import site_of

logger = logging.getLogger(__name__)
router = APIRouter(include_in_schema=False)


@router.get("/login")
def login_page(request: Request, next: str = "/") -> Response:
    """The form; without a login there is nothing to see here."""
    if not site_of(request).login_required:
        return RedirectResponse("/", status_code=303)
    return page(request, "login.html", next=own_path(next), problem="")


@router.post("/login")
async def log_in(
    request: Request,
    username: Annotated[str, Form(max_length=64)] = ADMINISTRATOR,
    password: Annotated[str, Form()] = "",
    csrf: Annotated[str, Form()] = "",
    next: Annotated[str, Form()] = "/",
) -> Response:
    """Check the password and start a session; refuse guessing."""
    require_own_form(request, csrf)
    guard: LoginGuard = request.app.state.guard
    async with guard.one_at_a_time:
        return await run_in_threadpool(_attempt, request, guard, username, password, next)


def _attempt(request: Request, guard: LoginGuard, username: str, password: str, wanted: str) -> Response:
    address = request.client.host if request.client else "unknown"
    wait_seconds = guard.wait_seconds(address)
    if wait_seconds > 0:
        problem = f"Too many attempts. Try again in {math.ceil(wait_seconds / 60)} min."
        answer = _again(request, 429, username, wanted, problem)
        answer.headers["Retry-After"] = str(math.ceil(wait_seconds))
        return answer
    try:
        account = account_of(site_of(request).settings.worklist_password_hash_file, username.strip(), password)
    except PasswordFileError:
        logger.exception("nobody can log in")
        problem = "The password file cannot be used; the log of the page says why."
        return _again(request, 503, username, wanted, problem)
    if account is None:
        guard.failed(address)
        logger.warning("worklist: wrong name or password from %s", address)
        return _again(request, 401, username, wanted, "Wrong name or password.")
    guard.succeeded(address)
    begin_session(request, account)
    logger.info("worklist: %s logged in from %s", account.name, address)
    return RedirectResponse(own_path(wanted), status_code=303)


def _again(request: Request, status_code: int, username: str, wanted: str, problem: str) -> Response:
    """Return the form with the name that was typed and why it did not open the page."""
    return page(request, "login.html", status_code, username=username, next=own_path(wanted), problem=problem)


@router.post("/logout")
def log_out(request: Request, csrf: Annotated[str, Form()] = "") -> Response:
    """End the session, for every copy of its cookie, too."""
    require_own_form(request, csrf)
    try:
        end_session(request)
    except OSError:
        logger.exception("a session was ended in one browser only")
        return message_page(
            request, 503, "You are logged out in this browser only: the server cannot write to its disk."
        )
    return RedirectResponse("/login", status_code=303)


def own_path(path: str) -> str:
    """Return the path if it stays on this page, else the worklist: a link must not lead a login elsewhere."""
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) else "/"
