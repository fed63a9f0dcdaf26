"""Who reads the API: a person who is logged in, or a program with a token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from worker.care.tokens import find_token, note_use, use_is_stale
from worklist.login import reader_of
from worklist.site import site_of

bearer = HTTPBearer(auto_error=False, description="A token made with `python -m worker token create NAME`.")


@dataclass(frozen=True)
class ApiReader:
    """Who asks, and whether they may see patients."""

    name: str
    patients: bool


def api_reader(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> ApiReader:
    """Return who asks; a FastAPI dependency. A token that is not valid is refused even where no login is needed.

    Raises
    ------
    HTTPException
        401: the token is unknown, expired or revoked.
    LoginRequired
        There is no token and nobody is logged in.
    """
    if credentials is None and "authorization" not in request.headers:
        return ApiReader(reader_of(request), patients=True)
    site = site_of(request)
    with site.reading() as session:
        token = find_token(session, credentials.credentials) if credentials else None
        stale = token is not None and use_is_stale(session, token)
    if token is None:
        raise HTTPException(401, "This token is unknown, expired or revoked.", {"WWW-Authenticate": "Bearer"})
    if stale:
        with site.writing.begin() as session:
            note_use(session, token.id)
    return ApiReader(f"token {token.name}", token.patients)
