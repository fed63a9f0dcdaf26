"""What a worker process has at hand once it has started: database sessions, file stores, loaded networks, policy.

Opened once per process, after the fork: neither database connections nor a compiled network survive one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property

from sqlalchemy.orm import Session

from dicom_io.foundation.reasons import ReasonCode
from dicom_io.storing.instance_store import InstanceStore
from model.bundle import Bundle, BundleError
from model.classifier import Classifier, NotFiniteError, RuntimeUnavailableError
from model.gpu import serving_classifier
from model.suitability import SuitabilityError
from worker.foundation.errors import PermanentRunError, StartError
from worker.foundation.stopwatch import Stopwatch
from worker.foundation.worker_name import worker_name
from worker.queue.celery_app import configured_settings
from worker.rows.active_bundle import active_bundle
from worker.rows.database import DATABASE_GONE, SessionFactory, only_reading, open_engine, session_factory
from worker.runs.policy import Policy
from worker.settings.config import Settings
from worker.settings.served_bundle import load_served_bundle

logger = logging.getLogger(__name__)


class BundleUnusable(StartError):
    """A configured model bundle is missing, damaged or not meant for patients."""

    def __init__(self, name: str, cause: str, code: str = "bundle") -> None:
        self.code = code
        super().__init__(f"bundle {name}: {cause}")


@dataclass(frozen=True)
class LoadedModel:
    """One bundle, its network in memory and the policy made of its operating points."""

    bundle: Bundle
    classifier: Classifier
    policy: Policy


@dataclass(frozen=True)
class Workplace:
    """Everything one run needs beside its own rows."""

    settings: Settings
    sessions: SessionFactory
    instances: InstanceStore
    results: InstanceStore
    worker_name: str
    models: dict[str, LoadedModel] = field(default_factory=dict)
    """Networks loaded so far, by bundle name; more are loaded when a run first asks for them."""

    @cached_property
    def reading(self) -> SessionFactory:
        """Maker of sessions that only look, and do not keep an image that arrives from its row meanwhile."""
        return only_reading(self.sessions)

    @property
    def device(self) -> str:
        """What the networks of this process compute on, such as ``openvino``."""
        return ", ".join(sorted({_device_of(model.classifier) for model in self.models.values()}))

    def model(self, bundle_name: str, watch: Stopwatch | None = None) -> LoadedModel:
        """Return the model of this name, loaded on first use: a stage ``load`` of the run that needs it first.

        Raises
        ------
        PermanentRunError
            The bundle is not configured or cannot be used.
        """
        if bundle_name not in self.models:
            try:
                with (watch or Stopwatch()).stage("load"):
                    self.models[bundle_name] = load_model(self.settings, bundle_name)
            except BundleUnusable as error:
                raise PermanentRunError(error.code, str(error)) from error
        return self.models[bundle_name]


@contextmanager
def numbers_required(bundle_name: str) -> Iterator[None]:
    """End a run in words whose network, or check of pictures, computes no number: another attempt computes none either.

    Raises
    ------
    PermanentRunError
        It did.
    """
    try:
        yield
    except (NotFiniteError, SuitabilityError) as error:
        words = f"bundle {bundle_name}: {error}; nothing was concluded, requeue the study once another bundle serves it"
        raise PermanentRunError(ReasonCode.BUNDLE, words) from error


def check_bundles(settings: Settings) -> Mapping[str, Bundle]:
    """Read every configured bundle's files and hashes, without loading a network.

    Raises
    ------
    BundleUnusable
        One is missing, damaged, or a demonstration where that is not allowed.
    """
    return {name: _checked_bundle(settings, name) for name in settings.bundles}


def require_active_configured(session: Session, settings: Settings) -> dict[str, str]:
    """Return which bundle is active in the place of each configured one.

    Raises
    ------
    BundleUnusable
        One that was promoted is not configured here: every run that asks for it would fail.
    """
    active = {name: active_bundle(session, name) for name in settings.bundles}
    for name, bundle in active.items():
        if bundle not in settings.bundles:
            cause = f"was promoted in the place of {name} and is not configured; add it to bundles, or roll back first"
            raise BundleUnusable(bundle, cause)
    return active


def load_model(settings: Settings, bundle_name: str) -> LoadedModel:
    """Load one bundle's network.

    Raises
    ------
    BundleUnusable
        It is not configured, missing, damaged, or a demonstration where that is not allowed.
    """
    bundle = _checked_bundle(settings, bundle_name)
    if bundle.suitability is None:
        logger.warning("bundle %s has no suitability check: pictures are not checked, tags alone decide", bundle_name)
    try:
        classifier = serving_classifier(bundle, settings.runtime, settings.cache_dir)
    except RuntimeUnavailableError as error:
        raise BundleUnusable(bundle_name, f"{error} (runtime in the configuration)", "runtime") from error
    except (BundleError, NotFiniteError) as error:  # weights that no trained network has, as they are read
        raise BundleUnusable(bundle_name, f"{error} (bundles.{bundle_name} in the configuration)") from error
    return LoadedModel(bundle, classifier, _policy(settings, bundle_name, bundle))


def _checked_bundle(settings: Settings, name: str) -> Bundle:
    if name not in settings.bundles:
        raise BundleUnusable(name, f"not configured; known are {', '.join(sorted(settings.bundles))}")
    try:
        bundle, other_precision = load_served_bundle(settings, name)
    except BundleError as error:
        raise BundleUnusable(name, f"{error} (bundles.{name} in the configuration)") from error
    if bundle.demonstration and not settings.allow_demonstration_bundle:
        cause = (
            f"{bundle.name} is a demonstration and may not analyse patients;"
            " configure a real bundle, or set allow_demonstration_bundle for a trial without patients"
        )
        raise BundleUnusable(name, cause, "demonstration_bundle")
    _policy(settings, name, bundle)
    if other_precision:
        logger.warning("bundle %s computes in %s: %s", name, bundle.precision, other_precision)
    return bundle


def _device_of(classifier: Classifier) -> str:
    precision = classifier.bundle.precision
    return classifier.runtime if precision == "fp32" else f"{classifier.runtime} {precision}"


def _policy(settings: Settings, name: str, bundle: Bundle) -> Policy:
    try:
        return Policy.of_bundle(bundle, settings.thresholds)
    except ValueError as error:
        raise BundleUnusable(name, f"{error} (bundles.{name} in the configuration)") from error


def open_workplace(settings: Settings) -> Workplace:
    """Connect, open the stores and load the network that is active in the place of ``default``.

    Raises
    ------
    BundleUnusable
        That bundle cannot be used.
    """
    sessions = session_factory(open_engine(settings.effective_database_url))
    name = _active_default(sessions)
    models = {name: load_model(settings, name)}
    instances, results = InstanceStore(settings.instances_dir), InstanceStore(settings.results_dir)
    results.begin()
    return Workplace(settings, sessions, instances, results, worker_name(), models)


def _active_default(sessions: SessionFactory) -> str:
    """Return which bundle to have ready; while the database is away the configured one, others load when claimed."""
    try:
        with sessions() as session:
            return active_bundle(session)
    except DATABASE_GONE as error:
        logger.warning("cannot ask which bundle is active (%s)", type(error).__name__)
        return "default"


@cache
def workplace() -> Workplace:
    """Return this process's workplace, opened at the first call."""
    return open_workplace(configured_settings())
