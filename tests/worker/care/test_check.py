from __future__ import annotations

import errno
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
import redis as redis_client
from arrivals import received
from bundles import SAYS, weights_without_numbers, write_test_bundle
from factories import chest_radiograph
from others_files import give_to_another_user
from peers import StandInPacs
from receivers import running_receiver
from services import free_port, own_redis, started
from sqlalchemy import make_url
from storage_ends import NoReceiver
from typer.testing import CliRunner

from dicom_io.services.storage_scp import StorageScp
from dicom_io.storing.instance_store import InstanceStore
from model.labels import LABELS
from worker.arrival.intake import Intake
from worker.care.check import check_everything
from worker.care.promotion import proven_version
from worker.cli import app
from worker.processes.listener import scp_settings
from worker.rows.database import migrated_engine, session_factory
from worker.runs.workplace import BundleUnusable
from worker.settings.config import Settings
from worker.settings.hl7 import Hl7Destination
from worker.settings.peers import Destination, Source

MakeSettings = Callable[..., Settings]


def verdicts(settings: Settings) -> dict[str, bool]:
    return {result.name: result.passed for result in check_everything(settings)}


def detail_of(settings: Settings, name: str) -> str:
    return next(result.detail for result in check_everything(settings) if result.name == name)


@pytest.fixture
def bundles(tmp_path: Path) -> dict[str, Path]:
    write_test_bundle(tmp_path / "bundle")
    return {"default": tmp_path / "bundle"}


def test_a_good_configuration_passes_against_real_peers(
    make_settings: MakeSettings, sqlite_url: str, bundles: dict[str, Path]
) -> None:
    pacs = StandInPacs()
    pacs.start()
    try:
        settings = make_settings(
            database_url=sqlite_url,
            bundles=bundles,
            sources=(Source(ae_title="MODALITY"),),
            destinations=(Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=pacs.port),),
            listen_port=free_port(),
        )
        assert all(verdicts(settings).values()), check_everything(settings)
        assert pacs.echoes > 0
    finally:
        pacs.stop()


def test_an_hl7_receiver_is_connected_to_and_sent_nothing(make_settings: MakeSettings) -> None:
    with running_receiver() as receiver:
        there = Hl7Destination(name="ris", host="127.0.0.1", port=receiver.port)
        gone = Hl7Destination(name="gone", host="127.0.0.1", port=free_port())
        found = verdicts(make_settings(hl7_destinations=(there, gone)))
        assert receiver.messages == []
    assert (found["HL7 destination ris"], found["HL7 destination gone"]) == (True, False)


def test_every_failure_is_reported_and_none_hides_another(make_settings: MakeSettings, tmp_path: Path) -> None:
    settings = make_settings(
        bundles={"default": tmp_path / "missing"},
        destinations=(Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=free_port()),),
        broker_url=f"redis://127.0.0.1:{free_port()}/0",
        minimum_free_bytes=10**18,
        worklist_password_hash_file=tmp_path / "no-password",
    )
    failed = {name for name, passed in verdicts(settings).items() if not passed}
    assert failed == {
        "database", "broker", "model bundle default", "active bundles", "disk", "sources", "destination pacs",
        "worklist page", "stored images",
    }  # fmt: skip


def test_an_unmigrated_database_says_what_to_run(make_settings: MakeSettings) -> None:
    assert "python -m worker migrate" in detail_of(make_settings(), "database")


def test_a_database_that_can_only_be_read_fails_the_check(make_settings: MakeSettings, postgresql_url: str) -> None:
    read_only = make_url(postgresql_url).update_query_dict({"options": "-c default_transaction_read_only=on"})
    settings = make_settings(database_url=read_only.render_as_string(hide_password=False))
    assert not verdicts(settings)["database"]
    assert "it can only be read" in detail_of(settings, "database")
    assert verdicts(make_settings(database_url=postgresql_url))["database"]


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [("maxmemory", "1", "command not allowed when used memory"), ("min-replicas-to-write", "1", "NOREPLICAS")],
)
def test_a_broker_that_answers_and_takes_no_message_fails_the_check(
    make_settings: MakeSettings, setting: str, value: str, words: str
) -> None:
    with ExitStack() as stack:
        broker_url = started(stack, own_redis)
        settings = make_settings(broker_url=broker_url)
        assert verdicts(settings)["broker"]
        with redis_client.Redis.from_url(broker_url) as server:
            server.config_set(setting, value)
        assert not verdicts(settings)["broker"]
        detail = detail_of(settings, "broker")
    assert words in detail
    assert "takes no messages" in detail


def test_a_demonstration_bundle_is_refused_outside_the_demo(make_settings: MakeSettings, tmp_path: Path) -> None:
    write_test_bundle(tmp_path / "drawings", demonstration=True)
    bundles = {"default": tmp_path / "drawings"}
    assert not verdicts(make_settings(bundles=bundles))["model bundle default"]
    assert verdicts(make_settings(bundles=bundles, allow_demonstration_bundle=True))["model bundle default"]


def test_a_damaged_bundle_is_named(make_settings: MakeSettings, bundles: dict[str, Path]) -> None:
    weights = bundles["default"] / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert "altered or damaged" in detail_of(make_settings(bundles=bundles), "model bundle default")


def test_a_network_that_cannot_be_computed_here_fails_the_check(
    make_settings: MakeSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    write_test_bundle(tmp_path / "silent", weights=weights_without_numbers())
    write_test_bundle(tmp_path / "bundle")
    bundles = {"default": tmp_path / "bundle", "silent": tmp_path / "silent"}
    results = {result.name: result for result in check_everything(make_settings(bundles=bundles))}
    assert results["model bundle default"].passed
    assert not results["model bundle silent"].passed
    assert "computes no finite number for " in results["model bundle silent"].detail
    assert "torch sees no GPU" in detail_of(make_settings(bundles=bundles, runtime="cuda"), "model bundle default")


def test_a_network_that_says_something_else_here_fails_the_check_and_cannot_be_promoted(
    make_settings: MakeSettings, tmp_path: Path
) -> None:
    picture = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)
    for name, says in (("right", SAYS), ("wrong", SAYS | {"Mass": 0.9})):
        expected = [SAYS.get(label) for label in LABELS]
        write_test_bundle(tmp_path / name, says, golden=[("wedge", picture, expected)])
    settings = make_settings(bundles={"default": tmp_path / "right", "candidate": tmp_path / "wrong"})
    assert detail_of(settings, "model bundle default").endswith("1 golden images come out as they should")
    told = "bundle candidate: does not say here what it should of wedge.png"
    assert detail_of(settings, "model bundle candidate").startswith(told)
    with pytest.raises(BundleUnusable, match=told):
        proven_version(settings, "candidate")


def test_without_a_destination_the_check_fails(make_settings: MakeSettings) -> None:
    assert not verdicts(make_settings())["destinations"]


def test_a_data_folder_that_lacks_what_was_received_is_another_hosts(
    make_settings: MakeSettings, sqlite_url: str, tmp_path: Path
) -> None:
    there = make_settings(database_url=sqlite_url, data_dir=tmp_path / "there")
    assert verdicts(there)["stored images"], "nothing was received yet"
    with migrated_engine(sqlite_url) as engine:
        store = InstanceStore(there.instances_dir)
        for _ in range(2):
            Intake(there, session_factory(engine), store, lambda *_: None).receive(received(chest_radiograph()))
    assert verdicts(there)["stored images"]
    elsewhere = make_settings(database_url=sqlite_url, data_dir=tmp_path / "elsewhere")
    assert not verdicts(elsewhere)["stored images"]
    said = detail_of(elsewhere, "stored images")
    assert str(elsewhere.data_dir) in said
    assert "every host needs the same data folder" in said


def test_stored_images_of_another_user_fail_the_check_and_hide_no_other_failure(
    make_settings: MakeSettings, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(database_url=sqlite_url)
    with migrated_engine(sqlite_url) as engine:
        store = InstanceStore(settings.instances_dir)
        Intake(settings, session_factory(engine), store, lambda *_: None).receive(received(chest_radiograph()))
    (study_folder,) = settings.instances_dir.glob("[0-9]*")
    give_to_another_user(study_folder, monkeypatch)
    assert not verdicts(settings)["stored images"]
    assert "give the command as that user" in detail_of(settings, "stored images")


@pytest.mark.parametrize("name", ["instances", "instances/.incoming", "results", "cache"])
def test_a_folder_in_the_data_folder_that_belongs_to_another_user_fails_the_check(
    make_settings: MakeSettings, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refusal is made up, for tests may run as root, whom the kernel refuses nothing."""
    settings = make_settings()
    assert verdicts(settings)["disk"]
    folder = settings.data_dir / name
    folder.mkdir(parents=True, exist_ok=True)
    make = tempfile.TemporaryFile

    def refuse(*, dir: Path) -> object:
        if dir == folder:
            raise PermissionError(errno.EACCES, "Permission denied", str(dir))
        return make(dir=dir)

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    assert not verdicts(settings)["disk"]
    assert f"cannot write to the folder {folder}: Permission denied" in detail_of(settings, "disk")


def test_a_variable_that_names_no_key_is_named(make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert verdicts(make_settings())["variables"]
    monkeypatch.setenv("CXR_LISTEN_PROT", "104")
    assert not verdicts(make_settings())["variables"]
    assert "CXR_LISTEN_PROT names no key; did you mean CXR_LISTEN_PORT?" in detail_of(make_settings(), "variables")


def test_the_broker_password_is_never_shown(make_settings: MakeSettings) -> None:
    settings = make_settings(broker_url=f"redis://:topsecret@127.0.0.1:{free_port()}/0")
    assert all("topsecret" not in result.detail for result in check_everything(settings))


def test_the_command_exits_1_and_writes_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_DATA_DIR", str(tmp_path / "data"))
    result = CliRunner().invoke(app, ["check", "--json"])
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["passed"] is False
    assert {"name", "passed", "detail", "seconds"} == set(report["checks"][0])


@contextmanager
def listening(settings: Settings) -> Iterator[None]:
    """Run the real listener's network side, which is not asked to store anything."""
    scp = StorageScp(scp_settings(settings), NoReceiver())  # type: ignore[arg-type]
    scp.start()
    try:
        yield
    finally:
        scp.stop()


@pytest.mark.parametrize(
    ("sources", "detail"),
    [
        ([{"ae_title": "PACS", "hosts": ["192.0.2.1"]}, {"ae_title": "MODALITY"}], "answered C-ECHO"),
        ([{"ae_title": "MODALITY", "hosts": ["127.0.0.1"]}], "answered C-ECHO"),
        ([{"ae_title": "PACS", "hosts": ["192.0.2.1"]}], "takes connections; no source may call from this machine"),
    ],
)
def test_a_listener_that_runs_is_asked_by_c_echo(
    make_settings: MakeSettings, sources: list[dict[str, object]], detail: str
) -> None:
    settings = make_settings(listen_host="127.0.0.1", listen_port=free_port(), sources=sources)
    assert "is not running" in detail_of(settings, "listener")
    with listening(settings):
        assert detail in detail_of(settings, "listener")
        assert verdicts(settings)["listener"]


@pytest.mark.parametrize(
    ("hosts", "detail"),
    [(["127.0.0.1"], "answered C-ECHO"), (["127.0.0.2"], "takes connections; no source may call from this machine")],
)
def test_a_listener_sees_the_address_that_is_called_from_and_not_its_own(
    make_settings: MakeSettings, hosts: list[str], detail: str
) -> None:
    """As on another machine, whose address is not the one that is called."""
    sources = [{"ae_title": "MODALITY", "hosts": hosts}]
    settings = make_settings(listen_host="127.0.0.2", listen_port=free_port(), sources=sources)
    with listening(settings):
        assert detail in detail_of(settings, "listener")
        assert verdicts(settings)["listener"]


def test_what_another_machine_listens_for_is_no_fault_of_this_one(
    make_settings: MakeSettings, postgresql_url: str, tmp_path: Path
) -> None:
    """All hosts share one configuration; only a database in a file says that there are no others."""
    elsewhere: dict[str, object] = {
        "listen_host": "192.0.2.1",
        "worklist_host": "192.0.2.1",
        "worklist_password_hash_file": tmp_path / "only-there",
        "hl7_listener": {"host": "192.0.2.1", "port": free_port(), "allowed_hosts": ["192.0.2.7"]},
    }
    shared = check_everything(make_settings(database_url=postgresql_url, **elsewhere))
    found = {result.name: result for result in shared}
    for name, key in (
        ("listener", "listen_host"),
        ("HL7 listener", "hl7_listener.host"),
        ("worklist page", "worklist_host"),
    ):
        assert found[name].passed, found[name].detail
        assert "no address of this machine" in found[name].detail
        assert key in found[name].detail


def test_another_program_on_the_port_is_no_listener(make_settings: MakeSettings) -> None:
    sources = [{"ae_title": "MODALITY"}]
    with running_receiver() as other:
        settings = make_settings(listen_port=other.port, sources=sources)
        assert not verdicts(settings)["listener"]
        assert "another program" in detail_of(settings, "listener")
    with listening(make_settings(ae_title="ELSE", listen_host="127.0.0.1", listen_port=other.port, sources=sources)):
        assert not verdicts(settings)["listener"]
        assert "rejected" in detail_of(settings, "listener")


@pytest.mark.parametrize(
    ("host_key", "port_key", "name"),
    [
        ("listen_host", "listen_port", "listener"),
        ("worklist_host", "worklist_port", "worklist page"),
    ],
)
def test_an_address_that_cannot_be_listened_on_fails_the_check(
    make_settings: MakeSettings, tmp_path: Path, host_key: str, port_key: str, name: str
) -> None:
    """It said that all was well, and the service ended when it was started."""
    elsewhere = {host_key: "192.0.2.1", port_key: free_port(), "worklist_password_hash_file": tmp_path / "hash"}
    assert f"cannot listen on 192.0.2.1:{elsewhere[port_key]}" in detail_of(make_settings(**elsewhere), name)


def test_an_hl7_listener_that_cannot_listen_fails_the_check(make_settings: MakeSettings) -> None:
    settings = make_settings(hl7_listener={"host": "192.0.2.1", "port": free_port(), "allowed_hosts": ["192.0.2.7"]})
    assert "change hl7_listener.port" in detail_of(settings, "HL7 listener")


def test_an_archive_that_may_not_send_what_it_is_told_to_fails_the_check(
    make_settings: MakeSettings, pacs: StandInPacs
) -> None:
    archive = {"ae_title": "PACS", "host": "127.0.0.1", "port": pacs.port}
    name = "archive to reconcile with"
    assert "PACS is none of the sources" in detail_of(make_settings(reconcile=archive), name)
    known = make_settings(reconcile=archive, sources=[Source(ae_title="PACS")])
    fetching = make_settings(reconcile=archive | {"retrieve": "get"})
    for settings in (known, fetching, make_settings(reconcile=archive, accept_unknown_sources=True)):
        assert "none of the sources" not in detail_of(settings, name)


@pytest.mark.parametrize(("content", "said"), [(None, "cannot be read"), ("\n", "is empty")])
def test_a_secret_that_a_message_needs_is_read_by_the_check(
    make_settings: MakeSettings, tmp_path: Path, content: str | None, said: str
) -> None:
    secret = tmp_path / "secret"
    if content is not None:
        secret.write_text(content)
    webhook = {"name": "chat", "url": "http://127.0.0.1:1/", "secret_file": secret}
    mail = {
        "name": "desk", "host": "127.0.0.1", "port": 1, "sender": "a@example.org", "recipients": ["b@example.org"],
        "username": "cxr", "password_file": secret, "ca_file": tmp_path / "none.pem",
    }  # fmt: skip
    settings = make_settings(webhooks=[webhook], mails=[mail | {"name": "other"}, mail | {"ca_file": None}])
    assert f"secret_file {secret} {said}" in detail_of(settings, "webhook chat")
    assert f"password_file {secret} {said}" in detail_of(settings, "mail desk")
    assert "none.pem holds no certificates" in detail_of(settings, "mail other")
