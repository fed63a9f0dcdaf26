"""How fast the worklist page answers with 100,000 studies, on SQLite or PostgreSQL, and with 50 pages that listen.

    python -m benchmarks.worklist [--studies 100000] [--database-url URL] [--clients 50]

Without a URL an SQLite file is made and thrown away; a database that is named must be empty. Prints the median and the
95th percentile of each page over its repetitions, one after the other and over a real port, and ends with status 1
where a page is slower than its bar.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from benchmarks.bars import Bar, at_most
from benchmarks.many_studies import UNREAD, fill
from worker.rows.database import SessionFactory, open_engine, session_factory
from worker.rows.events import record
from worker.rows.migrate import upgrade
from worker.settings.config import Settings, load_settings
from worklist.app import create_app
from worklist.cli import bound_socket, page_server

REPETITIONS = 25
BAR = (150, 50)
"""Milliseconds of a page, must and aim (design/performance.md)."""
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
        fill(engine, arguments.studies)
        with served(settings) as address:
            alone = {name: _times(address, path) for name, path in PAGES.items()}
            beside, refreshes = _listen_and_measure(address, session_factory(engine), arguments.clients)
        engine.dispose()
    bars = [at_most(f"{name}, ms", 1e3 * statistics.median(times), BAR, 0) for name, times in alone.items()]
    found = {
        "rows": _rows("alone", alone),
        "bars": [bar.as_dict() for bar in bars],
        "tables": {f"beside {arguments.clients} pages that listen": _rows("beside", beside)},
        "notes": [f"{arguments.studies} studies on {engine.dialect.name}", refreshes],
    }
    if arguments.json:
        json.dump(found, sys.stdout, indent=1)
    else:
        _print(found)
    sys.exit(0 if all(bar.met for bar in bars) else 1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.worklist", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=100_000)
    parser.add_argument("--database-url", default="", help="SQLAlchemy URL of an empty database; default: SQLite")
    parser.add_argument("--clients", type=int, default=50, help="open pages that listen and fetch what changed")
    parser.add_argument("--json", action="store_true", help="write JSON to standard output")
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


def _listen_and_measure(address: str, writing: SessionFactory, clients: int) -> tuple[dict[str, list[float]], str]:
    """Let pages listen and change something every ten seconds; return the seconds of pages beside them, and delays."""
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
        beside = {name: _times(address, PAGES[name]) for name in ("list", "study")}
    heard = f"{len(delays)} of {3 * clients} refreshes"
    if not delays:
        return beside, heard
    return beside, f"{heard}: median {statistics.median(delays):.2f} s, longest {max(delays):.2f} s after the change"


def _rows(title: str, measured: dict[str, list[float]]) -> list[dict[str, Any]]:
    rows = []
    for name, times in measured.items():
        ranked = sorted(1e3 * seconds for seconds in times)
        p95 = ranked[int(0.95 * len(ranked))]
        rows.append({title: name, "median ms": round(statistics.median(ranked)), "p95 ms": round(p95)})
    return rows


def _print(found: dict[str, Any]) -> None:
    for rows in (found["rows"], *found["tables"].values()):
        print("\t".join(rows[0]))
        for row in rows:
            print("\t".join(str(value) for value in row.values()))
    print(*(Bar(**bar) for bar in found["bars"]), *found["notes"], sep="\n")


if __name__ == "__main__":
    main()
