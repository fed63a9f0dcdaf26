"""Tokens with which programs read over HTTP: made and shown once, kept as a hash, expired or revoked at will."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from worker.foundation.errors import WorkerError
from worker.rows.database import database_now, one_at_a_time
from worker.rows.events import record
from worker.rows.site_tables import ApiToken

PREFIX = "cxr_"
"""Lets a scanner for secrets find a token that got into a script."""
_RANDOM_BYTES = 32
_USE_NOTED_EVERY = timedelta(hours=1)


class TokenRefused(WorkerError):
    """No token can be made or revoked as asked."""


@dataclass(frozen=True)
class TokenLine:
    """What is known of a token without the token."""

    name: str
    patients: bool
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


def create_token(session: Session, name: str, actor: str, *, days: float | None, patients: bool) -> str:
    """Make a token and return it; nobody can read it again.

    Parameters
    ----------
    days
        How long it is valid; None = until it is revoked.
    patients
        False leaves the columns empty that identify a patient.

    Raises
    ------
    TokenRefused
        A valid token has this name, or the name is empty or too long.
    """
    if not 1 <= len(name.strip()) <= 64:
        raise TokenRefused("a token needs a name of 1 to 64 characters that says who uses it")
    one_at_a_time(session.connection(), f"token {name}")
    now = database_now(session)
    if session.scalar(select(ApiToken.id).where(ApiToken.name == name, ApiToken.revoked_at.is_(None)).limit(1)):
        raise TokenRefused(f"a token named {name} exists; revoke it first (`python -m worker token revoke {name}`)")
    token = PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    expires_at = None if days is None else now + timedelta(days=days)
    session.add(
        ApiToken(
            name=name, sha256=_hash(token), patients=patients, created_at=now, created_by=actor, expires_at=expires_at
        )
    )
    details = {"name": name, "patients": patients, "days": days}
    record(session, "token_created", actor=actor, reason=f"token {name}", details=details, at=now)
    return token


def revoke_token(session: Session, name: str, actor: str) -> None:
    """Make the token of this name worthless at once.

    Raises
    ------
    TokenRefused
        There is none that is valid.
    """
    found = session.scalars(select(ApiToken).where(ApiToken.name == name, ApiToken.revoked_at.is_(None))).one_or_none()
    if found is None:
        raise TokenRefused(f"no valid token is named {name}; `python -m worker token list` shows them")
    found.revoked_at = database_now(session)
    record(session, "token_revoked", actor=actor, reason=f"token {name}", details={"name": name}, at=found.revoked_at)


def list_tokens(session: Session) -> list[TokenLine]:
    """Return every token that was ever made, the newest first."""
    rows = session.scalars(select(ApiToken).order_by(ApiToken.id.desc()))
    return [
        TokenLine(
            row.name, row.patients, row.created_at, row.created_by, row.expires_at, row.revoked_at, row.last_used_at
        )
        for row in rows
    ]


def find_token(session: Session, token: str) -> ApiToken | None:
    """Return the row of a token that is valid now, or None."""
    now = database_now(session)
    return session.scalars(
        select(ApiToken).where(
            ApiToken.sha256 == _hash(token),
            ApiToken.revoked_at.is_(None),
            or_(ApiToken.expires_at.is_(None), ApiToken.expires_at > now),
        )
    ).one_or_none()


def note_use(session: Session, token_id: int) -> None:
    """Note that the token was used, at most once an hour."""
    now = database_now(session)
    row = session.get_one(ApiToken, token_id)
    if row.last_used_at is None or row.last_used_at < now - _USE_NOTED_EVERY:
        row.last_used_at = now


def use_is_stale(session: Session, token: ApiToken) -> bool:
    """Return whether `note_use` would write."""
    return token.last_used_at is None or token.last_used_at < database_now(session) - _USE_NOTED_EVERY


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
