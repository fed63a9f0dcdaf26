"""The configuration: one TOML file plus ``CXR_*`` environment variables, read once and passed down, frozen.

Lookup order, first wins: arguments, ``CXR_<NAME>_FILE`` for secrets, environment (``CXR_DATABASE_URL=...``, nested with
``__``), the TOML file named by ``--config`` or ``CXR_CONFIG``, the defaults below. All mistakes are reported at
once.
"""

from __future__ import annotations

import os
import re
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from dicom_io.pixels.fidelity import Decoding
from dicom_io.selection.site_rules import SiteRule
from model.precision import Precision
from model.text_forms import NamedPath, of_form
from worker.settings.hl7 import Hl7Destination
from worker.settings.hl7_listener import Hl7Listener
from worker.settings.mistakes import PREFIX, mistakes_of, require_findings, require_known_kind
from worker.settings.notifications import Channel, Mail, Webhook
from worker.settings.peers import AeTitle, Destination, Port, Source
from worker.settings.reconcile import Reconcile
from worker.settings.retention import Retention
from worker.settings.tls import ListenTls
from worker.settings.ups import Ups
from worker.settings.viewer import Viewer

STARTER_BUNDLE = Path(__file__).resolve().parents[2] / "model" / "bundles" / "nih-starter-densenet121"
"""Trained on real radiographs, where this release brings it; the demonstration shows real films to it."""
DEFAULT_BUNDLE = Path(__file__).resolve().parents[2] / "model" / "bundles" / "phantom-densenet121"

LOOPBACK = ("127.0.0.1", "::1", "localhost")
_config_file: ContextVar[Path | None] = ContextVar("_config_file", default=None)


class ConfigurationError(Exception):
    """The configuration cannot be used; the message lists every mistake with the name of its field."""


class Settings(BaseSettings):
    """Everything the worker can be told; the unit stands in each field's name or doc line."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        nested_model_default_partial_update=True,
    )

    data_dir: NamedPath = Path("data")
    """Folder for everything on disk: instances, results, quarantine, SQLite file, queue."""
    database_url: str = ""
    """SQLAlchemy URL; empty = SQLite file ``triage.db`` in ``data_dir``. PostgreSQL: ``postgresql+psycopg://...``."""
    broker_url: str = "filesystem://"
    """Celery broker; ``filesystem://`` (inside ``data_dir``) or ``redis://...``."""

    ae_title: AeTitle = "CXRAI"
    """Our AE title, for receiving and for sending."""
    listen_host: str = "127.0.0.1"
    listen_port: Port = 11112
    listen_plain: bool = True
    """False closes ``listen_port``: DICOM comes in by TLS only, on the port of ``listen_tls``."""
    listen_tls: ListenTls | None = None
    """A second port for DICOM over TLS; None = there is none."""
    listener_processes: int = Field(1, ge=1, le=64)
    """Processes that receive on the same ports; more than one pays where several senders send at the same time, cores
    are idle, and the database is PostgreSQL (SQLite takes one writer at a time). Linux only."""
    maximum_associations: int = Field(25, ge=1)
    """Simultaneous associations of all listener processes; one more is rejected as transient. Each process takes its
    share, rounded up."""
    maximum_pdu_bytes: int = Field(131072, ge=4096)
    network_timeout_seconds: float = Field(300.0, gt=0)
    dimse_timeout_seconds: float = Field(120.0, gt=0)
    acse_timeout_seconds: float = Field(30.0, gt=0)
    accept_unknown_sources: bool = False
    """True lets any calling AE title send; meant for the demonstration on one machine."""
    sources: tuple[Source, ...] = ()
    site_rules: tuple[SiteRule, ...] = ()
    """What this site knows of its senders' tags; see ``dicom_io.selection.site_rules``."""
    destinations: tuple[Destination, ...] = ()
    hl7_destinations: tuple[Hl7Destination, ...] = ()
    webhooks: tuple[Webhook, ...] = ()
    mails: tuple[Mail, ...] = ()
    page_url: Annotated[
        str,
        of_form(
            r"(https?://\S*[^\s/])?", "an address that begins with https:// or http://, without a slash at its end"
        ),
    ] = ""
    """Address under which people reach the worklist page, without a slash at the end; notifications link to it."""
    hl7_listener: Hl7Listener | None = None
    """Where ADT and ORU messages come in; None listens to nobody."""
    ups: Ups | None = None
    """The worklist of workitems (Unified Procedure Step) at the listener; None offers none."""
    reconcile: Reconcile | None = None
    """The archive to ask for what was not received; None asks nobody."""
    retention: Retention = Retention()
    """When received images are deleted here; by default never."""
    minimum_free_bytes: int = Field(2_000_000_000, ge=0)
    """Below this much free disk, C-STORE is answered with 0xA700 instead of filling the disk."""

    bundles: dict[str, NamedPath] = Field(default_factory=lambda: {"default": DEFAULT_BUNDLE})
    """Model bundles by name; ``default`` serves every source that names none."""
    shadow_bundle: str = ""
    """Name of a bundle that analyses every live study once more, for comparison: its results stay in the database."""
    allow_demonstration_bundle: bool = False
    """True lets a demonstration bundle analyse studies; only the demonstration sets it."""
    decoding: Decoding = Decoding.EXACT
    """``fast`` decodes JPEG 2000 and HTJ2K images of at least 1792 px at half resolution, several times faster and
    within 0.1 grey levels in the mean at 224 px; results say so. ``exact`` decodes all of every image."""
    runtime: Literal["auto", "openvino", "torch", "cuda"] = "auto"
    """``auto`` computes on a GPU where torch sees one that gives the bundle's golden images their probabilities, else
    on the processor with OpenVINO, or with torch where that is not installed. ``cuda`` refuses to start without a GPU.
    A GPU that fails is told in the log, and the process goes on without it. ``CUDA_VISIBLE_DEVICES`` picks one."""
    precision: Precision = "fp32"
    """``bf16`` takes half the time with bundles that passed their trial of it, where the processor can; their model
    version then ends in ``.bf16``. Other bundles and processors compute in float32, which the log says."""
    site_name: str = ""
    """Institution shown on the worklist."""
    time_zone: str = "UTC"
    """IANA name of the site's zone; dates and times in our results use it when the source states no offset."""
    device_serial_number: str = "0001"
    """DeviceSerialNumber in our results; with the model name it marks them as ours."""

    quiet_time_seconds: float = Field(2.0, ge=0)
    """A study is due this long after its last image when no association end told us earlier."""
    lease_seconds: float = Field(20.0, gt=0)
    lease_renewal_seconds: float = Field(5.0, gt=0)
    maximum_attempts: int = Field(3, ge=1)
    upper_wait_minutes: float = Field(60.0, gt=0)
    """An unread study older than this moves to the head of the list."""
    historical_after_days: int = Field(7, ge=0)
    """Studies with an older StudyDate are historical: never flagged or announced."""
    analyse_historical: bool = True
    """False leaves historical studies alone, ``not_analysed(historical)``; ``requeue`` analyses one all the same."""
    delivery_first_retry_seconds: float = Field(1.0, gt=0)
    delivery_longest_retry_seconds: float = Field(300.0, gt=0)
    commitment_answer_seconds: float = Field(300.0, gt=0)
    """A storage commitment request without an answer is made again after this long, then after twice as long, up to a
    day; after every third the object is sent again, too."""
    sweep_interval_seconds: float = Field(1.0, gt=0)
    ring_again_seconds: float = Field(10.0, gt=0)
    """A queued run or due delivery whose message seems lost is rung again after this long."""
    concurrency: int = Field(0, ge=0)
    """Triage processes of one ``work``; 0 = one per core."""

    thresholds: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(default_factory=dict)
    """Operating points by finding that replace the bundle's own, 0..1."""
    include_negatives: bool = False
    """True lists findings below their threshold in the report as Absent."""

    flag_budget_per_100: float = Field(20.0, gt=0, le=100)
    """STAT and URGENT studies of every hundred that radiologists can attend to; the operations page shows the rest."""

    viewers: tuple[Viewer, ...] = ()
    """Viewers that a study's page links to."""
    worklist_host: str = "127.0.0.1"
    worklist_port: Port = 8042
    worklist_password_hash_file: NamedPath | None = None
    """File with the administrator's password hash (``python -m worklist passwd``); needed off loopback."""

    @field_validator("sources")
    @classmethod
    def _source_titles_are_unique(cls, sources: tuple[Source, ...]) -> tuple[Source, ...]:
        titles = [source.ae_title for source in sources]
        if len(set(titles)) != len(titles):
            raise ValueError("each ae_title may stand once")
        return sources

    @field_validator("thresholds")
    @classmethod
    def _findings_exist(cls, thresholds: dict[str, float]) -> dict[str, float]:
        require_findings(thresholds)
        return thresholds

    @field_validator("database_url", "broker_url")
    @classmethod
    def _address_is_of_a_known_kind(cls, address: str, info: ValidationInfo) -> str:
        field = str(info.field_name)
        return address if not address and field == "database_url" else require_known_kind(field, address)

    @field_validator("time_zone")
    @classmethod
    def _time_zone_is_known(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"{name!r} is not a time zone known here; use a name such as Europe/Berlin") from error
        return name

    @model_validator(mode="after")
    def _fields_agree(self) -> Settings:
        if self.lease_renewal_seconds * 2 > self.lease_seconds:
            raise ValueError(
                "lease_renewal_seconds must be at most half of lease_seconds, else one slow renewal loses it"
            )
        unknown = sorted({source.bundle for source in self.sources} - set(self.bundles))
        if unknown:
            raise ValueError(f"sources name bundles that are not configured: {', '.join(unknown)}")
        if self.shadow_bundle and self.shadow_bundle not in self.bundles:
            raise ValueError(f"shadow_bundle names a bundle that is not configured: {self.shadow_bundle}")
        if "default" not in self.bundles:
            raise ValueError("bundles needs an entry named default")
        if not self.listen_plain and self.listen_tls is None:
            raise ValueError("listen_plain = false leaves no port to listen on: configure [listen_tls]")
        if self.listen_tls is not None and self.listen_plain and self.listen_tls.port == self.listen_port:
            raise ValueError("listen_port and listen_tls.port must differ, or listen_plain be false")
        names = [item.name for item in self.destinations] + [item.name for item in self.hl7_destinations]
        names += [item.name for item in self.channels]
        if len(set(names)) != len(names):
            raise ValueError("each name may stand once among destinations, hl7_destinations, webhooks and mails")
        refreshing = [item.name for item in self.destinations if item.refresh_identity]
        if len(refreshing) > 1:
            raise ValueError(f"refresh_identity is set for {', '.join(refreshing)}: one archive says whose study it is")
        committing = any(item.storage_commitment for item in self.destinations)
        if self.retention.images_after_commitment_days is not None and not committing:
            raise ValueError(
                "retention.images_after_commitment_days: no destination has storage_commitment = true, so nothing would"
                " ever be deleted"
            )
        rules = [rule.name for rule in self.site_rules]
        if len(set(rules)) != len(rules):
            raise ValueError("each name may stand once among site_rules")
        unknown = sorted({title for rule in self.site_rules for title in rule.sources if self.source(title) is None})
        if unknown and not self.accept_unknown_sources:
            raise ValueError(f"site_rules name sources that are not configured: {', '.join(unknown)}")
        if self.worklist_host not in LOOPBACK and self.worklist_password_hash_file is None:
            raise ValueError(
                "worklist_host is not loopback: set worklist_password_hash_file"
                " (make one with `python -m worklist passwd FILE`)"
            )
        return self

    @property
    def effective_database_url(self) -> str:
        """The database URL with the SQLite default filled in."""
        return self.database_url or f"sqlite:///{(self.data_dir / 'triage.db').resolve()}"

    @property
    def listening_ports(self) -> tuple[int, ...]:
        """The DICOM ports, that without TLS first."""
        plain = (self.listen_port,) if self.listen_plain else ()
        return (*plain, self.listen_tls.port) if self.listen_tls else plain

    @property
    def instances_dir(self) -> Path:
        """Folder of received instances."""
        return self.data_dir / "instances"

    @property
    def results_dir(self) -> Path:
        """Folder of generated results."""
        return self.data_dir / "results"

    @property
    def cache_dir(self) -> Path:
        """Folder of compiled models."""
        return self.data_dir / "cache"

    @property
    def destination_names(self) -> list[str]:
        """Everything that results and messages go to, archives first; no name stands for two."""
        return [item.name for item in self.destinations] + [item.name for item in self.hl7_destinations]

    @property
    def channels(self) -> tuple[Channel, ...]:
        """Every way to tell people."""
        return (*self.webhooks, *self.mails)

    def source(self, calling_ae_title: str) -> Source | None:
        """Return the configured source with this calling AE title, or None."""
        return next((source for source in self.sources if source.ae_title == calling_ae_title), None)

    def is_urgent(self, calling_ae_title: str) -> bool:
        """Say whether this sender's studies are urgent whatever was ordered."""
        source = self.source(calling_ae_title)
        return source is not None and source.urgent

    def bundle_of(self, calling_ae_title: str) -> str:
        """Return the name of the bundle configured for this sender's studies; a promotion may take its place."""
        source = self.source(calling_ae_title)
        return source.bundle if source else "default"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then environment, then the TOML file."""
        sources: tuple[PydanticBaseSettingsSource, ...] = (init_settings, env_settings)
        if path := _config_file.get():
            sources += (TomlConfigSettingsSource(settings_cls, path),)
        return sources


def load_settings(config_file: Path | None = None, **overrides: Any) -> Settings:
    """Read the configuration.

    Parameters
    ----------
    config_file
        TOML file; None takes ``CXR_CONFIG`` from the environment, if set.
    overrides
        Fields that win over everything else.

    Raises
    ------
    ConfigurationError
        Listing every mistake by field.
    """
    named = os.environ.get("CXR_CONFIG")
    path = config_file or (Path(named) if named else None)
    if path is not None and not path.is_file():
        wrong = "is not a file" if path.exists() else "does not exist"
        where = "give --config another path" if config_file else "correct or unset CXR_CONFIG"
        raise ConfigurationError(f"configuration file {path} {wrong}; {where}")
    reading = _config_file.set(path)
    try:
        return Settings(**_secrets_from_files(overrides))
    except ValidationError as error:
        lines = [f"  {line}" for line in mistakes_of(error, Settings)]
        of = f" of {path}" if path else ""
        raise ConfigurationError("\n".join([f"the configuration{of} has mistakes:", *lines])) from error
    except SettingsError as error:  # a variable that holds a list or a table
        named_field = re.search(r'field "(\w+)"', str(error))
        name = f"the variable CXR_{named_field[1].upper()}" if named_field else "a CXR_* variable"
        raise ConfigurationError(
            f"{name} of the environment is not valid JSON, as lists and tables are there (docs/configuration.md)"
        ) from error
    except OSError as error:
        raise ConfigurationError(f"configuration file {path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # TOML syntax
        raise ConfigurationError(f"configuration file {path} is not valid TOML: {error}") from error
    finally:
        _config_file.reset(reading)


def _secrets_from_files(overrides: dict[str, Any]) -> dict[str, Any]:
    """Return the overrides with the secrets that ``CXR_<NAME>_FILE`` points to, where nothing stronger is given."""
    found = dict(overrides)
    for name in ("database_url", "broker_url"):
        if (secret := os.environ.get(f"CXR_{name.upper()}_FILE")) and name not in found:
            try:
                found[name] = Path(secret).read_text(encoding="utf-8").strip()
            except OSError as error:
                raise ConfigurationError(f"CXR_{name.upper()}_FILE: cannot read {secret}: {error.strerror}") from error
    return found
