"""Who may use the page off its own machine: names, roles and password hashes, one line each in one private file.

A line is ``name role hash``, parted by blanks; a file with nothing but a hash is the administrator's. The file is read
again at every request, so whoever is taken out of it is out at once.

Errors
------
PasswordFileError   the configured file is missing or holds no Argon2 hash
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from worker.foundation.errors import StartError

ADMINISTRATOR = "administrator"
MINIMUM_PASSWORD_LENGTH = 12
_NAME = re.compile(r"[\w.@-]{1,64}")


class Role(StrEnum):
    """What a person may do."""

    RADIOLOGIST = "radiologist"
    """Everything about studies: read, review, overrule."""
    ADMINISTRATOR = "administrator"
    """That, and the operations pages: requeue what failed, models in the shadow."""


class PasswordFileError(StartError):
    """The file with the password hashes cannot be used."""

    def __init__(self, path: Path | None, cause: str) -> None:
        super().__init__(f"password file {path}: {cause}; make one with `python -m worklist passwd FILE`")


@dataclass(frozen=True)
class Account:
    """One person."""

    name: str
    role: Role
    password_hash: str


def read_accounts(path: Path | None) -> dict[str, Account]:
    """Return the accounts by name.

    Raises
    ------
    PasswordFileError
        No file is configured, it cannot be read, or a line is no account.
    """
    if path is None:
        raise PasswordFileError(path, "worklist_password_hash_file is not set")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise PasswordFileError(path, f"cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise PasswordFileError(path, "holds no Argon2 hash") from error
    accounts = [_account(path, line.split()) for line in lines if line.strip()]
    if not accounts:
        raise PasswordFileError(path, "holds no Argon2 hash")
    return {account.name: account for account in accounts}


def _account(path: Path, words: list[str]) -> Account:
    if len(words) == 1:
        words = [ADMINISTRATOR, Role.ADMINISTRATOR, *words]
    if len(words) != 3 or words[1] not in list(Role) or not words[2].startswith("$argon2"):
        raise PasswordFileError(path, "holds a line that is neither an Argon2 hash nor `name role hash`")
    return Account(words[0], Role(words[1]), words[2])


def write_password_file(path: Path, password: str, name: str = ADMINISTRATOR, role: Role = Role.ADMINISTRATOR) -> None:
    """Write the Argon2id hash of a person's password beside those that are there; readable by its owner only.

    Raises
    ------
    ValueError
        The password is shorter than 12 characters, or the name is none.
    PasswordFileError
        The file is there and is no password file.
    OSError
        The file cannot be written.
    """
    if len(password) < MINIMUM_PASSWORD_LENGTH:
        raise ValueError(f"the password must have at least {MINIMUM_PASSWORD_LENGTH} characters")
    if not _NAME.fullmatch(name):
        raise ValueError("a name has 1 to 64 letters, digits, dots, hyphens, underlines or @, and no blanks")
    with _one_writer(path):
        accounts = read_accounts(path) if path.exists() else {}
        accounts[name] = Account(name, role, PasswordHasher().hash(password))
        _write(path, accounts)


def remove_account(path: Path, name: str) -> None:
    """Take a person out; they are logged out at once.

    Raises
    ------
    ValueError
        There is no such person, or nobody would be left.
    PasswordFileError
        The file is no password file.
    """
    with _one_writer(path):
        accounts = read_accounts(path)
        if accounts.pop(name, None) is None:
            raise ValueError(f"{path} knows nobody named {name}")
        if not accounts:
            raise ValueError(f"{name} is the last one in {path}; delete the file to close the page")
        _write(path, accounts)


@contextmanager
def _one_writer(path: Path) -> Iterator[None]:
    """Have the file to oneself: of two who read it and write it again at once, the first one's change would be lost.

    A file beside it is locked and stays, for the file itself is replaced by another one; readers need no lock.
    """
    lock = os.open(path.with_name(f".{path.name}.lock"), os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _write(path: Path, accounts: dict[str, Account]) -> None:
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    lines = [f"{account.name} {account.role} {account.password_hash}\n" for account in accounts.values()]
    try:
        write_private(partial, "".join(lines))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_private(path: Path, text: str) -> None:
    """Write a new file that only its owner can read, safely on disk when this returns."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def account_of(path: Path | None, name: str, password: str) -> Account | None:
    """Return whose password this is; takes about 50 ms on purpose, for names that do not exist, too.

    Raises
    ------
    PasswordFileError
        The file cannot be used.
    """
    accounts = read_accounts(path)
    account = accounts.get(name)
    tested = account or next(iter(accounts.values()))
    try:
        PasswordHasher().verify(tested.password_hash, password)
    except VerifyMismatchError:
        return None
    except (InvalidHashError, VerificationError) as error:
        raise PasswordFileError(path, "holds a damaged Argon2 hash") from error
    return account
