"""The real page on a real port of this machine."""

from __future__ import annotations

import gc
import re
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from worker.settings.config import Settings
from worklist.app import create_app
from worklist.cli import bound_socket, page_server

PASSWORD = "correct horse battery"


def csrf_of(html: str) -> str:
    """Return the token of the page's first form."""
    found = re.search(r'name="csrf" value="([^"]+)"', html)
    assert found, "the page has no form"
    return found.group(1)


@contextmanager
def served(settings: Settings, port: int = 0) -> Iterator[str]:
    """Serve the page for these settings on a loopback port (0: a free one); gives its URL without a slash."""
    listening = bound_socket("127.0.0.1", port)
    application = create_app(settings)
    server = page_server(application)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        deadline = time.monotonic() + 30
        while not server.started:
            if not thread.is_alive() or time.monotonic() > deadline:
                raise RuntimeError("the page did not start")
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()
        application.state.site.writing.kw["bind"].dispose()
        if server.server_state.connections:
            _forget_connections()


def _forget_connections() -> None:
    """Let go of what browsers kept open until the server ended; later, another test would be told of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
