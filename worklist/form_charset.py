"""Forms are in UTF-8, as an ASGI layer: one that says otherwise is answered 415.

Nothing else comes from a page (HTML: a multipart form never names another encoding). Who writes requests by hand could
name any codec of Python: some give halves of surrogate pairs, which cannot be written down, others fail in their own
ways.
"""

from __future__ import annotations

import codecs

from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

UTF_8 = "utf-8"


class FormsInUtf8:
    """Looks at what a request says of its body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and not _is_utf8(Headers(scope=scope).get("content-type", "")):
            response = JSONResponse({"detail": "The form is not in UTF-8."}, 415)
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _is_utf8(content_type: str) -> bool:
    kind, parameters = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        return True  # those of the other kind are read as UTF-8, whatever they say
    try:
        return codecs.lookup(parameters.get(b"charset", UTF_8.encode()).decode("latin-1")).name == UTF_8
    except (LookupError, ValueError):  # no such codec, or a name with a NUL in it
        return False
