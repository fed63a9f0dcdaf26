"""pynetdicom as its documentation uses it, with the same promise as ours: ``python -m benchmarks.stock_receiver``.

The handler writes the file, fsyncs it, commits one row in SQLite with ``synchronous=FULL``, and then says success.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
from pathlib import Path

from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.events import Event


def main() -> None:
    """Listen on the port given, write into the folder given."""
    port, folder = int(sys.argv[1]), Path(sys.argv[2])
    database, own = folder.parent / "stock.db", threading.local()
    new = sqlite3.connect(database)  # here and not in a handler: SQLite waits for nobody while the log is switched on
    new.executescript("PRAGMA journal_mode=WAL; CREATE TABLE IF NOT EXISTS instance (uid, path);")
    new.close()

    def connection() -> sqlite3.Connection:
        if not hasattr(own, "rows"):
            own.rows = sqlite3.connect(database, timeout=30)
            own.rows.execute("PRAGMA synchronous=FULL")
        return own.rows  # type: ignore[no-any-return]

    def store(event: Event) -> int:
        uid = event.request.AffectedSOPInstanceUID
        path = folder / f"{uid}.dcm"
        with path.open("wb") as file:
            file.write(event.encoded_dataset())
            file.flush()
            os.fsync(file.fileno())
        with connection() as rows:
            rows.execute("INSERT INTO instance VALUES (?, ?)", (uid, str(path)))
        return 0x0000

    ae = AE("STOCK")
    ae.maximum_pdu_size = 131072
    ae.supported_contexts = AllStoragePresentationContexts
    ae.start_server(("127.0.0.1", port), evt_handlers=[(evt.EVT_C_STORE, store)])


if __name__ == "__main__":
    main()
