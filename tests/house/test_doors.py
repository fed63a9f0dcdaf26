"""Doors stay shut: nothing unpickles, no statement is glued together, no request is endless, no broker is open."""

from __future__ import annotations

import ast
import os
import pickle
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import redis
import yaml
from kombu import pools
from pages import served
from services import free_port, redis_program
from sites import TRIAGE, Site, wait_until

from worker.processes.tasks import TRIAGE_TASK, ring_triage
from worker.queue.celery_app import app, configure
from worker.settings.config import Settings
from worklist.body_limit import MAXIMUM_BODY_BYTES

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("dicom_io", "hl7_io", "migrations", "model", "training", "worker", "worklist")
CODE_CARRIERS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
UNPICKLING_ERROR = "UnpicklingError"
"""The one thing of `pickle` that is used: torch raises it."""


def doors_of(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield (line, what is wrong) for everything that could run what somebody sent, or glue a statement together."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in CODE_CARRIERS:
            yield node.lineno, f"from {node.module}"
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names if name.name in CODE_CARRIERS - {"pickle"})
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "pickle"
            and node.attr != UNPICKLING_ERROR
        ):
            yield node.lineno, f"pickle.{node.attr}"
        if isinstance(node, ast.Call):
            yield from _of_call(node)


def _of_call(call: ast.Call) -> Iterator[tuple[int, str]]:
    name = ast.unparse(call.func)
    keywords = {item.arg: ast.unparse(item.value) for item in call.keywords}
    if name in ("eval", "exec", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load", "compile"):
        yield call.lineno, name
    if name == "torch.load" and keywords.get("weights_only") != "True":
        yield call.lineno, "torch.load without weights_only=True"
    if keywords.get("allow_pickle", "False") != "False" or keywords.get("shell", "False") != "False":
        yield call.lineno, "allow_pickle or shell"
    sql = name.split(".")[-1] in ("text", "exec_driver_sql") or name.endswith(("session.execute", "connection.execute"))
    if sql and call.args and isinstance(call.args[0], ast.JoinedStr | ast.BinOp):
        yield call.lineno, f"SQL glued together: {ast.unparse(call.args[0])}"


CONSTANTS = {
    ("worker/rows/database.py", "SQL glued together: f'PRAGMA {pragma}'"),
    (
        "worker/rows/migrate.py",
        "SQL glued together: f\"SET LOCAL lock_timeout = '{int(lock_timeout_seconds * 1000)}ms'\"",
    ),
    ("migrations/triage_views_0009.py", "SQL glued together: f'DROP VIEW {view.name}'"),
    (
        "migrations/triage_views_0009.py",
        "SQL glued together: f\"COMMENT ON COLUMN {view.name}.{name} IS '{quoted}'\"",
    ),
    (
        "migrations/triage_worklist.py",
        "SQL glued together: f\"COMMENT ON COLUMN triage_worklist.{name} IS '{quoted}'\"",
    ),
}
"""Names and numbers of our own source, where the database takes no parameters."""


def test_nothing_runs_what_was_sent_and_sql_takes_values_as_parameters_only() -> None:
    found = {
        (str(path.relative_to(ROOT)), what)
        for package in PRODUCT
        for path in (ROOT / package).rglob("*.py")
        for _line, what in doors_of(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert found - CONSTANTS == set()
    assert CONSTANTS - found == set(), "no longer there: take them off the list"


@pytest.mark.parametrize(
    "line",
    [
        "pickle.loads(x)",
        "from pickle import loads",
        "import joblib",
        "torch.load(x)",
        "np.load(x, allow_pickle=True)",
        "subprocess.run(x, shell=True)",
        "eval(x)",
        "session.execute(text(f'SELECT {x}'))",
        "connection.exec_driver_sql('SELECT ' + x)",
    ],
)
def test_an_open_door_would_be_found(line: str) -> None:
    assert list(doors_of(ast.parse(line)))


class Exploit:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.marker),)


def test_a_pickled_message_in_the_queue_is_thrown_away_and_never_opened(
    make_settings: Callable[..., Settings], sqlite_url: str, tmp_path: Path
) -> None:
    marker, proof = tmp_path / "opened", tmp_path / "proof"
    pickle.loads(pickle.dumps(Exploit(proof)))  # noqa: S301 (this is the attack)
    assert proof.is_dir(), "the exploit works where it is opened"
    settings = make_settings(database_url=sqlite_url, allow_demonstration_bundle=True, concurrency=1)
    configure(settings)
    for queue in ("stat", "routine"):
        app.send_task(TRIAGE_TASK, (Exploit(marker),), queue=queue, serializer="pickle")
    ring_triage("1.2.3.4", "routine")
    pools.reset()
    site = Site(settings, tmp_path / "log.txt")
    try:
        site.start(TRIAGE)
        messages = settings.data_dir / "queue" / "messages"
        wait_until(lambda: not list(messages.iterdir()), "the queue is worked off")
        wait_until(lambda: "ContentDisallowed" in site.log(), "the worker refuses", 20)
    finally:
        site.stop()
    assert not marker.exists()


def test_no_request_is_larger_than_any_form(page_settings: Settings) -> None:
    with served(page_settings) as url, httpx.Client(base_url=url, timeout=30) as client:
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        announced = client.post("/logout", content=b"csrf=" + b"x" * MAXIMUM_BODY_BYTES, headers=form)
        assert announced.status_code == 413
        sent = 0

        def endless() -> Iterator[bytes]:
            nonlocal sent
            while sent < 1 << 30:
                sent += 1 << 16
                yield b"x" * (1 << 16)

        with suppress(httpx.TransportError):  # the server may hang up before we have finished
            assert client.post("/logout", content=endless(), headers=form).status_code == 413
        assert sent < 32 << 20
        assert client.post("/logout", content=b"csrf=x", headers=form).status_code == 403


def test_the_containers_redis_lets_nobody_in_without_the_password(tmp_path: Path) -> None:
    service = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"]["redis"]
    secret = tmp_path / "redis_password"
    secret.write_text("long-and-random\n")
    port = free_port()
    shell, option, script = service["command"]
    script = script.replace("$$", "$").replace("/run/secrets/redis_password", str(secret))
    script = script.replace("redis-server -", f"{redis_program()} - --port {port} --dir {tmp_path}")
    with subprocess.Popen([shell, option, script], stdout=subprocess.DEVNULL) as server:
        try:
            guarded = redis.Redis(port=port, password="long-and-random")
            wait_until(lambda: _pings(guarded), "redis answers", 20)
            with pytest.raises(redis.AuthenticationError):
                redis.Redis(port=port).ping()
            assert guarded.config_get("appendonly") == {"appendonly": "yes"}
            assert guarded.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        finally:
            server.terminate()
    assert "redis_password" in service["secrets"]


def _pings(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        time.sleep(0.05)
        return False
