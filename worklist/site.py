"""What the page has at hand: settings, database sessions, file stores and the facts of the model bundles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from fastapi import Request
from sqlalchemy import Engine

from dicom_io.storing.instance_store import InstanceStore
from model.bundle import BundleError
from model.calibration import Calibration
from worker.rows.database import SessionFactory, open_engine, session_factory
from worker.settings.config import LOOPBACK, Settings
from worker.settings.served_bundle import load_served_bundle


@dataclass(frozen=True)
class BundleFacts:
    """What a page must say about a model bundle; ``problem`` is None when it could be read."""

    name: str
    version: str
    demonstration: bool
    problem: str | None = None
    calibrated: bool = False
    """False: its numbers order studies, but are no probabilities."""
    card: str = ""
    """Its model card, Markdown."""


@dataclass(frozen=True)
class Site:
    """Opened once when the page starts; requests only read it."""

    settings: Settings
    engine: Engine
    """Of both kinds of sessions."""
    reading: SessionFactory
    writing: SessionFactory
    instances: InstanceStore
    results: InstanceStore
    bundles: Mapping[str, BundleFacts]

    @property
    def login_required(self) -> bool:
        """Whether people must log in: whenever a password is configured, and always off loopback."""
        return self.settings.worklist_password_hash_file is not None or self.settings.worklist_host not in LOOPBACK

    @property
    def upper_wait(self) -> timedelta:
        """The wait after which an unread study moves to the head of the list."""
        return timedelta(minutes=self.settings.upper_wait_minutes)

    @property
    def demonstration(self) -> bool:
        """Whether any configured bundle is a demonstration."""
        return any(bundle.demonstration for bundle in self.bundles.values())


def open_site(settings: Settings) -> Site:
    """Open the database and the stores; connects only when used."""
    engine = open_engine(settings.effective_database_url)
    return Site(
        settings,
        engine,
        session_factory(engine, read_only=True),
        session_factory(engine),
        InstanceStore(settings.instances_dir),
        InstanceStore(settings.results_dir),
        {name: _facts(name, settings) for name in settings.bundles},
    )


def site_of(request: Request) -> Site:
    """Return the site of the application that answers this request."""
    site: Site = request.app.state.site
    return site


def _facts(name: str, settings: Settings) -> BundleFacts:
    """Return what is known of one bundle; a broken one is told on the page, since stored studies can still be shown."""
    try:
        bundle, _other_precision = load_served_bundle(settings, name)
    except BundleError as error:
        return BundleFacts(name, "unknown", demonstration=False, problem=str(error))
    return BundleFacts(
        bundle.name, bundle.model_version, bundle.demonstration, None, is_calibrated(bundle.calibration),
        bundle.card_path.read_text(encoding="utf-8"),
    )  # fmt: skip


def is_calibrated(calibration: Calibration) -> bool:
    """Whether somebody fitted it, so that its numbers can be read as probabilities."""
    return calibration.op_threshs is None and calibration != Calibration.identity()
