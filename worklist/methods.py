"""HEAD is answered as GET is, without the body (RFC 9110 9.3.2); of other methods an answer names those that there are.

An ASGI layer, so that no route has to say it for itself.
"""

from __future__ import annotations

from fastapi import Request
from starlette.routing import Match, Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_BODILESS = "cxr.bodiless"


class HeadAsGet:
    """Lets the application answer GET and keeps the body back."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_without_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        await self._app({**scope, "method": "GET", _BODILESS: True}, receive, send_without_body)


def is_bodiless(request: Request) -> bool:
    """Whether the answer's body is kept back: one without an end must not be begun."""
    return bool(request.scope.get(_BODILESS))


def allowed_methods(request: Request) -> str:
    """Return the methods that an address takes, as ``Allow`` lists them; empty where another layer says it."""
    routes = [route for route in request.app.routes if not isinstance(route, Mount)]
    taken = [
        method
        for method in ("GET", "POST")
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    ]
    return ", ".join(("GET", "HEAD", *taken[1:]) if "GET" in taken else taken)
