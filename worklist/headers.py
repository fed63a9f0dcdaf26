"""Response headers that keep the page to itself, as an ASGI layer around the whole application.

The Content Security Policy allows nothing from anywhere else and nothing inline: hostile text in a DICOM attribute can
never become a script, and the page works on a network without a way out.
"""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
CACHEABLE = "/static/"


class SecurityHeaders:
    """Adds the headers above to every response, and forbids browsers to keep anything that names a patient.

    Parameters
    ----------
    app
        What answers.
    behind_tls
        Readers reach it by TLS, whatever a request says: cookies never leave a browser without.
    """

    def __init__(self, app: ASGIApp, *, behind_tls: bool = False) -> None:
        self._app = app
        self._behind_tls = behind_tls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        cache = "private, no-cache" if scope["path"].startswith(CACHEABLE) else "no-store"
        secure = self._behind_tls or scope["scheme"] == "https"

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers["Cache-Control"] = cache
                if secure:
                    message["headers"] = [
                        (name, value + b"; secure" if name.lower() == b"set-cookie" else value)
                        for name, value in message["headers"]
                    ]
            await send(message)

        await self._app(scope, receive, send_with_headers)
