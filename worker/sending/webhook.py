"""Tells a program by HTTP POST; any answer of 2xx means that it knows."""

from __future__ import annotations

import hashlib
import hmac
import json
import ssl
from typing import Any

from dicom_io.foundation.product import VERSION
from worker.foundation.errors import WorkerError
from worker.settings.notifications import Webhook


class NotTold(WorkerError):
    """Nobody was reached; the message says why in our words and is kept in the row."""


def post(webhook: Webhook, body: dict[str, Any]) -> str:
    """Post the body once and return the answer in a few words.

    Redirects are not followed: they would carry the body to an address nobody configured.

    Raises
    ------
    NotTold
        Refused, unreachable or silent, or a file or a name of the configuration cannot be used.
    """
    import httpx  # here, because few sites have a webhook, and every delivery worker loads this file

    content = json.dumps(body, ensure_ascii=False).encode()
    headers = {"Content-Type": "application/json", "User-Agent": f"cxr-triage-worker/{VERSION}"}
    try:
        if webhook.secret_file is not None:
            secret = webhook.secret_file.read_text(encoding="utf-8").strip().encode()
            headers["X-CXR-Signature"] = f"sha256={hmac.new(secret, content, hashlib.sha256).hexdigest()}"
        verify = ssl.create_default_context(cafile=str(webhook.ca_file)) if webhook.ca_file else True
        with (
            httpx.Client(timeout=webhook.timeout_seconds, verify=verify) as client,
            client.stream("POST", webhook.url, content=content, headers=headers) as answer,
        ):
            status_code = answer.status_code  # the body says nothing to us, and may have no end
    except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
        raise NotTold(f"no answer ({type(error).__name__})") from error
    if not httpx.codes.is_success(status_code):
        raise NotTold(f"answered HTTP {status_code}")
    return f"HTTP {status_code}"
