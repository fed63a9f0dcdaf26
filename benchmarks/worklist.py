"""How fast the worklist page answers with 100,000 studies, on SQLite or PostgreSQL, and with 50 pages that listen.

    python -m benchmarks.worklist [--studies 100000] [--database-url URL] [--clients 50]

Without a URL an SQLite file is made and thrown away; a database that is named must be empty. Prints the median and the
95th percentile of each page over its repetitions, one after the other and over a real port.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx

from benchmarks.many_studies import UNREAD, fill
from worker.rows.database import SessionFactory, open_engine, session_factory
from worker.rows.events import record
from worker.rows.migrate import upgrade
from worker.settings.config import Settings, load_settings
from worklist.app import create_app
from worklist.cli import bound_socket, page_server

REPETITIONS = 25
BAR_SECONDS = 0.150
PAGES = {
    "list": "/",
    "list, refreshed": "/partial/worklist",
    "search by name": "/?q=smith+anna",
    "search by patient ID": "/?q=pid-0012",
    "filter: finding": "/?finding=Pneumothorax",
    "filter: finding and source": "/?finding=Effusion&source=CR_ICU",
    "filter: state": "/?state=failed",
    "filter: priority, oldest first": "/?priority=ROUTINE&order=oldest",
    "sorted by patient": "/?order=patient",
    "study": f"/studies/2.25.{10**9 + UNREAD + 1}",
}


def main() -> None:
    """Make the database, serve the page, measure, print."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as folder:
        url = arguments.database_url or f"sqlite:///{folder}/triage.db"
        settings = load_settings(data_dir=Path(folder), database_url=url, allow_demonstration_bundle=True)
        upgrade(url)
        engine = open_engine(url)
        started = time.perf_counter()
        fill(engine, arguments.studies)
        print(f"{arguments.studies} studies in {time.perf_counter() - started:.0f} s ({engine.dialect.name})")
        with served(settings) as address:
            alone = {name: _times(address, path) for name, path in PAGES.items()}
            _print("alone", alone)
            _listen_and_measure(address, session_factory(engine), arguments.clients)
        engine.dispose()
    slow = [name for name, times in alone.items() if statistics.median(times) > BAR_SECONDS]
    if slow:
        raise SystemExit(f"slower than {1000 * BAR_SECONDS:.0f} ms: {', '.join(slow)}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=100_000)
    parser.add_argument("--database-url", default="", help="SQLAlchemy URL of an empty database; default: SQLite")
    parser.add_argument("--clients", type=int, default=50, help="open pages that listen and fetch what changed")
    return parser.parse_args()


@contextmanager
def served(settings: Settings) -> Iterator[str]:
    """Serve the page in this process on a free port."""
    listening = bound_socket("127.0.0.1", 0)
    server = page_server(create_app(settings))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def _times(address: str, path: str, repetitions: int = REPETITIONS) -> list[float]:
    with httpx.Client(base_url=address, timeout=60) as client:
        client.get(path).raise_for_status()
        times = []
        for _ in range(repetitions):
            started = time.perf_counter()
            client.get(path)
            times.append(time.perf_counter() - started)
    return times


def _listen_and_measure(address: str, writing: SessionFactory, clients: int) -> None:
    """Let pages listen, change something every second, and measure the list and their delays meanwhile."""
    delays: list[float] = []
    changed_at = [time.perf_counter()]
    done = threading.Event()

    def page() -> None:
        with httpx.Client(base_url=address, timeout=60) as client, client.stream("GET", "/live") as stream:
            for line in stream.iter_lines():
                if done.is_set():
                    return
                if line == "event: changed":
                    client.get("/partial/worklist")
                    delays.append(time.perf_counter() - changed_at[0])

    pages = [threading.Thread(target=page, daemon=True) for _ in range(clients)]
    with ExitStack() as stack:
        stack.callback(done.set)
        for thread in pages:
            thread.start()
        time.sleep(3)
        for _ in range(3):
            with writing.begin() as session:
                record(session, "received", actor="benchmark", at=datetime.now(UTC))
                changed_at[0] = time.perf_counter()
            time.sleep(10)
        _print(
            f"with {clients} pages listening", {"list": _times(address, "/"), "study": _times(address, PAGES["study"])}
        )
    heard = f"{len(delays)} of {3 * clients} refreshes"
    if delays:
        print(f"{heard}: median {statistics.median(delays):.2f} s, longest {max(delays):.2f} s after the change")
    else:
        print(heard)


def _print(title: str, measured: dict[str, list[float]]) -> None:
    print(f"\n{title:34}  median     p95")
    for name, times in measured.items():
        ranked = sorted(times)
        print(f"{name:34}  {1000 * statistics.median(times):5.0f} ms {1000 * ranked[int(0.95 * len(ranked))]:5.0f} ms")


if __name__ == "__main__":
    main()
