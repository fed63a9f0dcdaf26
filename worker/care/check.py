"""``python -m worker check``: the configuration tried against the real database, broker, bundles, disk and peers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from rich.console import Group as Stack
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from dicom_io.associations.client import ScuSettings
from dicom_io.foundation.tls import TlsFileError
from dicom_io.services.query import ArchiveError, querying
from dicom_io.services.storage_scu import echo
from hl7_io.mllp import MllpError
from hl7_io.mllp_client import MllpConnection
from worker.care.broker_check import state_of_broker
from worker.care.channel_check import answer_of_mail_server, answer_of_webhook
from worker.care.folder_check import holds_what_was_received, room_of_disk
from worker.care.listener_check import CheckFailed, state_of_hl7_listener, state_of_listener, state_of_page
from worker.foundation.certificates import InvalidCertificate, certificates_in, validity
from worker.foundation.errors import StartError, refusal_of_the_system
from worker.foundation.worker_name import worker_name
from worker.rows.database import (
    DATABASE_GONE,
    current_revision,
    migrated_engine,
    outage_words,
    safe_location,
    session_factory,
)
from worker.rows.service_lease import take_service
from worker.settings.config import Settings
from worker.settings.hl7 import Hl7Destination
from worker.settings.mistakes import unknown_variables
from worker.settings.peers import Destination
from worker.settings.reconcile import Reconcile
from worker.settings.tls import Tls
from worker.settings.tls_users import tls_of
from worker.views.rendering import escape

CHECKED_LEASE_SECONDS = 1.0
REFUSAL_SECONDS = 0.5
"""Long enough for a receiver on the hospital's network to say that it does not want us."""


@dataclass(frozen=True)
class CheckResult:
    """One line of the report."""

    name: str
    passed: bool
    detail: str
    seconds: float


def check_everything(settings: Settings) -> list[CheckResult]:
    """Try everything the worker will need; a failure never keeps the others from being tried."""
    checks: list[tuple[str, Callable[[], str]]] = [
        ("database", partial(_database, settings)),
        ("broker", partial(state_of_broker, settings)),
        *((f"model bundle {name}", partial(_bundle, settings, name)) for name in settings.bundles),
        ("active bundles", partial(_active_bundles, settings)),
        ("disk", partial(room_of_disk, settings)),
        ("stored images", partial(holds_what_was_received, settings)),
        ("sources", partial(_sources, settings)),
        ("variables", _variables),
        *((f"destination {item.name}", partial(_destination, settings, item)) for item in settings.destinations),
        *((f"HL7 destination {item.name}", partial(_hl7_destination, item)) for item in settings.hl7_destinations),
        *((f"webhook {item.name}", partial(answer_of_webhook, item)) for item in settings.webhooks),
        *((f"mail {item.name}", partial(answer_of_mail_server, item)) for item in settings.mails),
        ("listener", partial(state_of_listener, settings)),
        ("worklist page", partial(state_of_page, settings)),
        *((f"TLS of {owner}", partial(_certificate, tls)) for owner, tls in tls_of(settings)),
    ]
    if settings.hl7_listener:
        checks.append(("HL7 listener", partial(state_of_hl7_listener, settings, settings.hl7_listener)))
    if settings.reconcile:
        checks.append(("archive to reconcile with", partial(_archive, settings, settings.reconcile)))
    if not settings.destinations:
        checks.append(("destinations", _no_destination))
    return [_tried(name, check) for name, check in checks]


def report(results: list[CheckResult]) -> RenderableType:
    """Return all results as one table with a closing sentence."""
    table = Table(title="Configuration check", header_style="bold")
    for title in ("", "Check", "Found", "Time"):
        table.add_column(title, overflow="fold")
    for result in results:
        mark = Text(" ok ", style="black on green") if result.passed else Text(" FAILED ", style="bold white on red")
        table.add_row(mark, escape(result.name), escape(result.detail), f"{result.seconds:.2f} s")
    failed = sum(not result.passed for result in results)
    verdict = f"{failed} of {len(results)} checks failed." if failed else "Everything answered."
    return Stack(table, Text(verdict, style="bold red" if failed else "bold green"))


def _tried(name: str, check: Callable[[], str]) -> CheckResult:
    started = time.perf_counter()
    try:
        detail, passed = check(), True
    except (CheckFailed, StartError) as error:
        detail, passed = str(error), False
    except OSError as error:
        detail, passed = refusal_of_the_system(error), False
    return CheckResult(name, passed, detail, round(time.perf_counter() - started, 3))


def _database(settings: Settings) -> str:
    location = safe_location(settings.effective_database_url)
    with migrated_engine(settings.effective_database_url) as engine:
        try:
            with session_factory(engine)() as session:  # never committed
                take_service(session, "check", worker_name(), CHECKED_LEASE_SECONDS)
        except DATABASE_GONE as error:
            raise CheckFailed(f"{location}: {outage_words(error)}; nothing can be received meanwhile") from error
        return f"{location} at revision {current_revision(engine)}, takes changes"


def _bundle(settings: Settings, name: str) -> str:
    from model.bundle import BundleError
    from model.classifier import RuntimeUnavailableError
    from model.gpu import serving_classifier
    from worker.runs.proof import prove
    from worker.settings.served_bundle import load_served_bundle

    try:
        bundle, other_precision = load_served_bundle(settings, name)
    except BundleError as error:
        raise CheckFailed(f"{error} (bundles.{name} in the configuration)") from error
    if bundle.demonstration and not settings.allow_demonstration_bundle:
        raise CheckFailed(
            f"{bundle.name} {bundle.model_version} is a demonstration, refused outside the demo; "
            f"set bundles.{name} to a real bundle"
        )
    mark = ", DEMONSTRATION" if bundle.demonstration else ""
    if bundle.suitability is None:
        mark += ", PICTURES NOT CHECKED for being frontal chests (python -m training suitability)"
    if other_precision:
        mark += f", computes in {bundle.precision}: {other_precision}"
    try:
        classifier = serving_classifier(bundle, settings.runtime, None)  # what it would keep may be another user's
    except RuntimeUnavailableError as error:
        raise CheckFailed(f"{error} (runtime in the configuration)") from error
    golden = prove(name, classifier)
    mark += f"; on {classifier.runtime} " + (
        f"{golden} golden images come out as they should" if golden else "unproven"
    )
    return f"{bundle.name} {bundle.model_version}, {sum(bundle.trained)} of {len(bundle.labels)} findings, intact{mark}"


def _active_bundles(settings: Settings) -> str:
    """Say what was promoted, and whether this configuration knows it."""
    from worker.runs.workplace import require_active_configured

    try:
        with (
            migrated_engine(settings.effective_database_url) as engine,
            session_factory(engine, read_only=True)() as session,
        ):
            active = require_active_configured(session, settings)
    except StartError as error:
        raise CheckFailed(str(error)) from error
    promoted = [f"{bundle} in the place of {name}" for name, bundle in active.items() if bundle != name]
    return ", ".join(promoted) or "as configured; none was promoted"


def _sources(settings: Settings) -> str:
    if settings.sources:
        named = (f"{item.ae_title} from {' or '.join(item.hosts) or 'any address'}" for item in settings.sources)
        return f"{len(settings.sources)} may send: {', '.join(named)}"
    if settings.accept_unknown_sources:
        return "any calling AE title may send (accept_unknown_sources)"
    raise CheckFailed("no sources are configured, so every sender is rejected; list the PACS under [[sources]]")


def _variables() -> str:
    """Say whether each ``CXR_*`` variable of the environment names a key."""
    if unknown := unknown_variables(Settings):
        raise CheckFailed(", ".join(unknown))
    return "each CXR_* variable names a key"


def _destination(settings: Settings, destination: Destination) -> str:
    peer = destination.peer()
    place = f"{peer.ae_title} at {peer.host}:{peer.port}"
    problem = echo(peer, settings.ae_title)
    if problem:
        raise CheckFailed(f"{place}: {problem}; check its address and that it knows {settings.ae_title}")
    return f"{place} answered C-ECHO"


def _hl7_destination(destination: Hl7Destination) -> str:
    """Connect, with TLS where configured, and send nothing: HL7 has no question without consequences."""
    try:
        with MllpConnection(destination.receiver()) as connection:
            connection.wait_for_refusal(REFUSAL_SECONDS)
    except MllpError as error:
        raise CheckFailed(f"{error}; check its address and that it lets this machine in") from error
    how = "over TLS" if destination.tls else "without TLS"
    return f"{destination.host}:{destination.port} takes connections {how}; no message was sent"


def _archive(settings: Settings, archive: Reconcile) -> str:
    """Say whether the archive takes queries from us, and may send to us where it is told to."""
    known = settings.accept_unknown_sources or settings.source(archive.ae_title) is not None
    if archive.retrieve == "move" and not known:
        raise CheckFailed(
            f"{archive.ae_title} is none of the sources, so what it is told to send (retrieve = move) is turned away;"
            " list it under [[sources]], or have images fetched (retrieve = get)"
        )
    try:
        with querying(archive.peer(), settings.ae_title, ScuSettings()):
            return f"{archive.ae_title} on {archive.host}:{archive.port} takes queries"
    except ArchiveError as error:
        raise CheckFailed(str(error)) from error


def _certificate(tls: Tls) -> str:
    """Say until when the certificates are good; one that is not, and a key that does not fit, fail."""
    try:
        tls.files().context(server_side=True)
        now = datetime.now(UTC)
        authorities = [validity(certificate, now) for certificate in certificates_in(tls.ca_file)]
        own = validity(certificates_in(tls.certificate_file)[0], now)
    except TlsFileError as error:
        raise CheckFailed(f"{error.filename} {error.strerror}") from error
    except InvalidCertificate as error:
        raise CheckFailed(f"{error}; put a good one in its place") from error
    return f"certificate of {own}; trusts {', '.join(authorities)}"


def _no_destination() -> str:
    raise CheckFailed("no destinations are configured, so results stay here; list the PACS under [[destinations]]")
