"""An archive that takes longer over one study than an analysis may take: it is waited for, by one association."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from bundles import FLAGGED, write_test_bundle
from peers import watched_pacs
from services import free_port
from sites import DELIVERY, LISTEN, QUICK, SWEEP, TRIAGE, Site, send_study

from worker.settings.config import Settings
from worker.settings.peers import Destination

ROOT = Path(__file__).resolve().parents[3]
PLANTED = ROOT / "tests" / "support" / "hostile" / "planted"
SOFT_SECONDS, HARD_SECONDS = 3, 5
"""Of an analysis."""
ANSWER_SECONDS = 2
OBJECTS = 1 + len(FLAGGED)


def test_an_archive_that_takes_its_time_over_a_study_gets_one_association_and_everything_once(
    make_settings: Callable[..., Settings], sqlite_url: str, tmp_path: Path
) -> None:
    with watched_pacs() as pacs:
        pacs.delay_seconds = ANSWER_SECONDS
        archive = Destination(name="archive", ae_title=pacs.ae_title, host="127.0.0.1", port=pacs.port)
        settings = make_settings(
            database_url=sqlite_url,
            listen_port=free_port(),
            bundles={"default": write_test_bundle(tmp_path / "bundle").folder},
            destinations=[archive],
            **QUICK,
        )
        limits = {
            "PYTHONPATH": os.pathsep.join((str(PLANTED), str(ROOT))),
            "PLANTED_LIMITS": f"{SOFT_SECONDS},{HARD_SECONDS}",
        }
        site = Site(settings, tmp_path / "log.txt", environment=limits)
        try:
            site.start_listening(LISTEN)
            for command in (SWEEP, TRIAGE, DELIVERY):
                site.start(command)
            studies = [send_study(site, tmp_path / "images") for _ in range(2)]
            for study in studies:
                site.wait_for_delivery(study, "sent")
        finally:
            site.stop()
        assert OBJECTS * ANSWER_SECONDS > HARD_SECONDS, "of one study"
        assert (pacs.most_open, len(pacs.arrivals)) == (1, 2 * OBJECTS)
    assert "ime limit" not in site.log()
