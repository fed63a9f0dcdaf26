"""Fixtures for every test: databases made by the migrations, real servers, settings in a folder of their own."""

from __future__ import annotations

import functools
import gc
import logging
import os
import shutil
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy and PyTorch are loaded; tests run side by side

import httpx
import pytest
from browsers import chromium, page  # noqa: F401 (fixtures)
from forked_members import forked_members  # noqa: F401 (a fixture)
from hypothesis import settings as hypothesis_settings
from kept_together import pytest_xdist_make_scheduler  # noqa: F401 (a hook)
from orthanc import start_hospital  # noqa: F401 (a fixture)
from peers import pacs  # noqa: F401 (a fixture)
from postgres_databases import PostgresDatabases, SharedServer, migrated_template, shared_server_url
from pynetdicom.transport import AssociationServer
from receivers import ris  # noqa: F401 (a fixture)
from services import postgres, redis, started
from slow_cases import DATABASES, leave_one_database
from sqlalchemy import Engine, create_engine

from worker.rows import database
from worker.rows.database import SessionFactory, open_engine, session_factory
from worker.rows.migrate import upgrade
from worker.settings.config import Settings, load_settings
from worklist import accounts

if TYPE_CHECKING:
    from benches import Bench
    from sites import Site

_LONG_FILES = (
    "test_training_pipeline", "test_kill", "test_soak", "test_orthanc_corrections", "test_orthanc", "test_delivery",
    "test_reconcile", "test_listener", "test_inbound_effects", "test_commitment", "test_orthanc_delivery",
    "test_ups_processes", "test_accessibility", "test_worklist_browser", "test_importing", "test_parallel",
    "test_recipe_runs", "test_end_to_end", "test_published_checkpoints", "test_reprocess", "test_retention",
)  # fmt: skip
"""Those that take longest. Started first, none is left for the end, when the other processes have nothing to do."""

hypothesis_settings.register_profile("short", deadline=None, max_examples=50)  # a busy machine makes any one slow once
hypothesis_settings.register_profile("thorough", deadline=None, max_examples=1000)  # --hypothesis-profile thorough
hypothesis_settings.load_profile("short")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(SharedServer())


@pytest.hookimpl(tryfirst=True)  # before the tests marked slow are taken out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Choose a database where one is enough, and put the longest files first; ``--no-loadscope-reorder`` keeps them."""
    leave_one_database(items)
    places = {name: place for place, name in enumerate(_LONG_FILES)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


@pytest.hookimpl(tryfirst=True)
def pytest_collection() -> None:
    """Look for no garbage while everything is imported: that is a quarter of the time it takes."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Look for none among what was loaded either: pynetdicom's servers collect garbage again and again."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _compiled_statements_are_shared() -> Iterator[None]:
    """Let all engines of one kind of database use the same SQL texts: each engine of its own would make all anew.

    SQLAlchemy keeps them by statement and dialect, so the dialect is shared as well, once it has seen its database; it
    holds no connection.
    """
    firsts: dict[str, Engine] = {}

    def sharing(url: str, **options: Any) -> Engine:
        engine = create_engine(url, query_cache_size=5000, **options)
        first = firsts.get(engine.dialect.name)
        if first is None or first.dialect.server_version_info is None:
            firsts[engine.dialect.name] = engine
        else:
            engine.dialect, engine._compiled_cache = first.dialect, first._compiled_cache
        return engine

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "create_engine", sharing)
        yield


@pytest.fixture(scope="session", autouse=True)
def _servers_collect_no_garbage() -> Iterator[None]:
    """Leave garbage to Python: pynetdicom's servers look for it every 60 turns, and one that is closed turns fast."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AssociationServer, "service_actions", lambda server: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _trust_is_read_once() -> Iterator[None]:
    """Let HTTP clients that ask for nothing special share one list of authorities, which takes 45 ms to read."""
    read = httpx._config.create_ssl_context
    usual = read()

    def create(verify: Any = True, cert: Any = None, trust_env: bool = True) -> ssl.SSLContext:
        return usual if verify is True and cert is None else read(verify, cert, trust_env)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpx._transports.default, "create_ssl_context", create)
        yield


@pytest.fixture(scope="session", autouse=True)
def _passwords_cost_little() -> Iterator[None]:
    """Hash passwords once and small, where a page hashes them for 50 ms on purpose."""
    cheap = functools.partial(accounts.PasswordHasher, time_cost=1, memory_cost=8, parallelism=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accounts, "PasswordHasher", cheap)
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_outside_configuration() -> Iterator[None]:
    """Keep the ``CXR_*`` variables of whoever runs the tests away from the code under test."""
    with pytest.MonkeyPatch.context() as patch:
        for name in _setting_variables():
            patch.delenv(name)
        yield


def _setting_variables() -> list[str]:
    """Return the ``CXR_*`` variables that configure the worker; those that steer the tests are not among them."""
    ours = ("CXR_TEST_", "CXR_REQUIRE_SERVICES", "CXR_SHARED")
    return [name for name in os.environ if name.startswith("CXR_") and not name.startswith(ours)]


@pytest.fixture(scope="session")
def postgres_url(pytestconfig: pytest.Config) -> Iterator[str]:
    """URL of a real PostgreSQL server's maintenance database."""
    with ExitStack() as stack:
        url = shared_server_url(pytestconfig)
        if url is None:
            url = started(stack, postgres)
            stack.enter_context(migrated_template(url))
        yield url


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """URL of a real Redis."""
    with ExitStack() as stack:
        yield started(stack, redis)


@pytest.fixture
def silent_broker_url() -> Iterator[str]:
    """URL of a Redis that stands still: the system takes connections for it, and nobody answers."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        yield f"redis://127.0.0.1:{silent.getsockname()[1]}/0"


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    path = tmp_path_factory.mktemp("template") / "triage.db"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres_databases(postgres_url: str) -> Iterator[PostgresDatabases]:
    """Migrated databases on the same server."""
    databases = PostgresDatabases(postgres_url)
    yield databases
    databases.drop_all()


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """URL of a fresh migrated SQLite database."""
    path = tmp_path / "triage.db"
    shutil.copyfile(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def postgresql_url(postgres_databases: PostgresDatabases) -> Iterator[str]:
    """URL of a migrated PostgreSQL database without rows."""
    url = postgres_databases.take()
    yield url
    postgres_databases.give_back(url)


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest) -> str:
    """URL of a fresh migrated database; every test that asks runs on SQLite and on PostgreSQL.

    With ``-m slow`` at the latest: see the marker ``either_database``.
    """
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """Engine on a fresh migrated database, both kinds."""
    opened = open_engine(database_url)
    yield opened
    opened.dispose()


@pytest.fixture
def sessions(engine: Engine) -> SessionFactory:
    """Maker of writing sessions on a fresh migrated database, both kinds."""
    return session_factory(engine)


@pytest.fixture
def make_settings(tmp_path: Path) -> Callable[..., Settings]:
    """Maker of settings in this test's folder; keywords replace fields."""

    def make(**fields: Any) -> Settings:
        return load_settings(**{"data_dir": tmp_path / "data", "minimum_free_bytes": 0} | fields)

    return make


@pytest.fixture
def site_with(make_settings: Callable[..., Settings], sqlite_url: str, tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Maker of a site on SQLite with the small test bundle and ``QUICK``; keywords replace fields of its settings.

    ``environment`` is that of its processes, which are ended with the test.
    """
    from bundles import write_test_bundle  # here, as in `bench_with`
    from services import free_port
    from sites import QUICK, Site

    made = []

    def make(environment: Mapping[str, str] | None = None, **fields: Any) -> Site:
        usual = {
            "database_url": sqlite_url,
            "listen_port": free_port(),
            "bundles": {"default": write_test_bundle(tmp_path / "bundle").folder},
        }
        site = Site(make_settings(**usual | QUICK | fields), tmp_path / "log.txt", environment=environment or {})
        made.append(site)
        return site

    yield make
    for site in made:
        site.stop()


@pytest.fixture
def bench_with(
    make_settings: Callable[..., Settings], sessions: SessionFactory, tmp_path: Path
) -> Callable[..., Bench]:
    """Maker of benches with the small test bundle; keywords replace fields of their settings."""
    from benches import Bench  # here: most of the worker, which few of the files need
    from bundles import write_test_bundle

    bundle = write_test_bundle(tmp_path / "bundle").folder

    def make(**fields: Any) -> Bench:
        return Bench(make_settings(**{"bundles": {"default": bundle}} | fields), sessions)

    return make


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    """Settings in this test's folder with SQLite; the free-space limit is off."""
    return make_settings()


@pytest.fixture
def page_settings(make_settings: Callable[..., Settings], sqlite_url: str) -> Settings:
    """Settings of a worklist page on an SQLite database."""
    return make_settings(database_url=sqlite_url)


@pytest.fixture
def writing(page_settings: Settings) -> Iterator[SessionFactory]:
    """Writing sessions on the database of the page."""
    engine = open_engine(page_settings.effective_database_url)
    yield session_factory(engine)
    engine.dispose()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with shared data and tools beside the project, where there is one."""
    named = os.environ.get("CXR_SHARED")
    folder = Path(named) if named else Path(__file__).resolve().parent.parent.parent / "shared"
    if not folder.is_dir():
        pytest.skip("the shared data folder is not here (CXR_SHARED, or ../shared beside the project)")
    return folder


@pytest.fixture(autouse=True)
def _own_environment() -> Iterator[None]:
    """Give each test an environment without our settings, and take back what it sets."""

    def forget() -> None:
        for name in _setting_variables():
            del os.environ[name]

    forget()
    yield
    forget()


@pytest.fixture(autouse=True)
def _own_log_lines() -> Iterator[None]:
    """Take away the writer of log lines that a command set up in this process: its stream ends with the test."""
    yield
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if type(handler) is logging.StreamHandler]:
        root.removeHandler(handler)
