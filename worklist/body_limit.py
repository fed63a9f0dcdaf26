"""No request body is larger than any form here, as an ASGI layer: what is longer is answered 413 and hung up on."""

from __future__ import annotations

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAXIMUM_BODY_BYTES = 256 << 10
"""The longest form holds a comment."""
MAXIMUM_PICTURE_BYTES = 64 << 20
"""A radiograph that somebody wants to try, the form around it included."""
_LIMITS = {"/try": MAXIMUM_PICTURE_BYTES}


class BodyLimit:
    """Counts what comes in."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = _LIMITS.get(scope["path"], MAXIMUM_BODY_BYTES)
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if not announced.isdigit() or int(announced) > limit:
            await _too_large(scope, receive, send)
            return
        received, refused = 0, False

        async def receive_bounded() -> Message:
            nonlocal received, refused
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit and not refused:
                refused = True
                await _too_large(scope, receive, send)
            return {"type": "http.disconnect"} if refused else message

        async def send_unless_refused(message: Message) -> None:
            if not refused:
                await send(message)

        await self._app(scope, receive_bounded, send_unless_refused)


async def _too_large(scope: Scope, receive: Receive, send: Send) -> None:
    response = JSONResponse({"detail": "The request is too large."}, 413, {"Connection": "close"})
    await response(scope, receive, send)
