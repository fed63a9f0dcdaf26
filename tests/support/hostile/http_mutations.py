"""Mutated requests for the worklist page, each drawn from a seed and a number: paths, queries, forms, uploads, headers.

The routes are asked of the page's own modules, so that a new one is tried without anybody thinking of it. Requests are
written by hand: a client library would refuse to send most of them.
"""

from __future__ import annotations

import pkgutil
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from io import BytesIO
from urllib.parse import quote

from fastapi.routing import APIRoute
from mutations import damaged_bytes, damaged_copy
from PIL import Image

import worklist

HOSTILE = (
    "", "0", "-1", "9" * 19, "9" * 30, "1e999", "nan", "1.5", "²", "１２", "\0", "a\0b", "\r\nSet-Cookie: x=1",
    "../" * 9,
    "' OR 1=1 --", '"', "%", "_", "\\", "<script>alert(1)</script>", "{{7*7}}", "x" * 3000, "\u202e\u0600",
    "\U0001f4a9",
    "2026-02-30", "0001-01-01", "9999-12-31", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-03-02",
    "true", "null", "[]", "WyJzdHVkaWVzIiwgMV0", "W1tbW1tb" * 400, "STAT", "failed", "poison", "json", "csv", "local",
    "Pneumothorax", "60", "1", "2", "*" * 200, "NEAR(a b)", '"a" AND', "a" + "\u0301" * 300, "I" * 64,
)  # fmt: skip
"""Words for any place; each means something somewhere, or is too long, too large, or of a kind that is not expected."""
NAMES = (
    "q", "group", "priority", "finding", "source", "state", "since", "until", "order", "after", "limit", "offset",
    "unread",
    "newest_first", "format", "days", "version", "t.Mass", "t.Pneumothorax", "study", "reason_code", "requeued",
    "refused",
    "next", "back", "undo", "run", "comment", "read", "v.Pneumothorax", "v.Mass", "reason", "by", "because", "image",
    "patient_id", "issuer_of_patient_id", "patient_name", "patient_birth_date", "patient_sex", "accession_number",
    "username", "password", "csrf", "study_instance_uid", "run_id", "sop_instance_uid", "destination", "kind",
    "actor",
)  # fmt: skip
_HEADERS = (
    "Accept: */*", "Accept: application/json", "Accept-Encoding: gzip, br", "Range: bytes=0-99999999999",
    "If-Modified-Since: never", "If-None-Match: \"x\"", "Expect: 100-continue", "Content-Encoding: gzip",
    "TE: trailers",
    "Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-origin", "Origin: http://evil.example",
    "Referer: javascript:1",
    "X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https", "Forwarded: for=_x", "Upgrade: websocket",
    "Authorization: Bearer x", "Authorization: Basic \xff", "Authorization: Bearer",
    "Cookie: cxr_session=" + "A" * 3000,
    "Cookie: cxr_session=eyJyZWFkZXIiOiAiYWRtaW4ifQ==.x.y", "X: " + "y" * 7000, "Host: elsewhere.example",
    "Cookie: =;;\xff",
)  # fmt: skip
_DAMAGED_FORMS = (
    b"", b"=&=&&==", b"a=%", b"a=%zz&b=%ff%fe", b"\xff" * 50, b"&" * 900, b"csrf=" + b"x" * 9000, b"{\"csrf\": 1}",
)  # fmt: skip


@dataclass(frozen=True)
class Visitor:
    """Who asks: the session cookie and the form token of somebody who has logged in; both empty for a stranger."""

    cookie: str = ""
    csrf: str = ""


@dataclass(frozen=True)
class Request:
    """One request as it goes over the wire."""

    content: bytes
    path: str
    """As the route has it, for the counts."""
    anonymous: bool
    """Nobody who has logged in asks."""
    whole: bool
    """Whether the server must answer before the connection ends."""


def page_routes() -> list[tuple[str, str]]:
    """Return method and path template of every route of the page, but for the stream of open pages."""
    modules = [import_module(f"worklist.{module.name}") for module in pkgutil.iter_modules(worklist.__path__)]
    routers = [module.router for module in modules if hasattr(module, "router")]
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    return sorted((method, route.path) for route in routes for method in route.methods if route.path != "/live")


def mutated_request(
    draw: random.Random, routes: Sequence[tuple[str, str]], known: Mapping[str, Sequence[str]], visitor: Visitor
) -> Request:
    """Return a request to one of the routes, wrong in something.

    Parameters
    ----------
    known
        Values that exist, by the name of a place in a path, and under ``*`` for any place.
    """
    method, template = draw.choice(routes)
    if draw.random() < 0.03:
        method = draw.choice(("HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "get", "X" * 40))
    who = visitor if draw.random() < 0.8 else Visitor()
    query = _query(draw, known) if draw.random() < 0.7 else ""
    headers = [f"Cookie: cxr_session={who.cookie}"] if who.cookie else []
    headers += draw.sample(_HEADERS, draw.choice((0, 0, 0, 1, 2)))
    body = b""
    if method == "POST" or draw.random() < 0.03:
        body, kind = _body(draw, template, known, who.csrf)
        headers.append(f"Content-Type: {kind}")
    length = len(body) if draw.random() < 0.98 else draw.choice((0, len(body) + 5, -1, 10**12))
    if body or length:
        headers.append(f"Content-Length: {length}")
    path = _filled(draw, template, known) + (f"?{query}" if query else "")
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *headers, "", ""]
    content = "\r\n".join(lines).encode("latin-1", "replace") + body
    whole = draw.random() < 0.92
    sent = content if whole else damaged_bytes(content, draw)
    return Request(sent, template, not who.cookie, whole and length == len(body))


def _filled(draw: random.Random, template: str, known: Mapping[str, Sequence[str]]) -> str:
    def value(found: re.Match[str]) -> str:
        good = known.get(found.group(1), known["*"])
        return quote(draw.choice(good) if draw.random() < 0.75 else draw.choice(HOSTILE), safe=draw.choice(("", "/")))

    return re.sub(r"\{(\w+)\}", value, template)


def _query(draw: random.Random, known: Mapping[str, Sequence[str]]) -> str:
    pairs = [(draw.choice(NAMES), _word(draw, known)) for _ in range(draw.choice((1, 1, 2, 3, 8)))]
    return "&".join(f"{name}={quote(word, safe='')}" for name, word in pairs)


def _word(draw: random.Random, known: Mapping[str, Sequence[str]]) -> str:
    return draw.choice(known["*"]) if draw.random() < 0.3 else draw.choice(HOSTILE)


def _body(draw: random.Random, template: str, known: Mapping[str, Sequence[str]], csrf: str) -> tuple[bytes, str]:
    if template == "/try" or draw.random() < 0.05:
        return _upload(draw, csrf)
    if draw.random() < 0.15:
        kinds = ("application/x-www-form-urlencoded", "application/json", "multipart/form-data", "text/\xff", "")
        return draw.choice(_DAMAGED_FORMS), draw.choice(kinds)
    pairs = [("csrf", csrf if draw.random() < 0.8 else _word(draw, known))]
    pairs += [(draw.choice(NAMES), _word(draw, known)) for _ in range(draw.choice((0, 1, 3, 6)))]
    form = "&".join(f"{name}={quote(word, safe='')}" for name, word in pairs)
    return form.encode(), "application/x-www-form-urlencoded"


def _upload(draw: random.Random, csrf: str) -> tuple[bytes, str]:
    name = draw.choice(("picture", "picture", "picture", "other", ""))
    content = draw.choice((_damaged_dicom, _damaged_picture, _noise))(draw)
    file_name = draw.choice(("x.dcm", "", "../x", "ü"))
    parts = (
        f'--B\r\nContent-Disposition: form-data; name="csrf"\r\n\r\n{csrf}\r\n'
        f'--B\r\nContent-Disposition: form-data; name="{name}"; filename="{file_name}"\r\n\r\n'
    )
    body = parts.encode("utf-8") + content + b"\r\n--B--\r\n"
    return damaged_bytes(body, draw) if draw.random() < 0.2 else body, "multipart/form-data; boundary=B"


def _damaged_dicom(draw: random.Random) -> bytes:
    return damaged_copy(draw.randrange(1000), draw.randrange(1000))[1][:400_000]


def _damaged_picture(draw: random.Random) -> bytes:
    stream = BytesIO()
    picture = Image.radial_gradient("L").resize((draw.choice((1, 63, 200)), draw.choice((64, 300))))
    picture.convert(draw.choice(("L", "RGB", "P"))).convert("RGB").save(stream, draw.choice(("PNG", "JPEG")))
    return damaged_bytes(stream.getvalue(), draw) if draw.random() < 0.8 else stream.getvalue()


def _noise(draw: random.Random) -> bytes:
    return draw.randbytes(draw.choice((0, 1, 200, 70_000)))
