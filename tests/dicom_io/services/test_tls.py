"""TLS to the listener and to peers: dcmtk with good, missing, expired and foreign certificates; what is offered."""

from __future__ import annotations

import fcntl
import os
import pty
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from factories import chest_radiograph, write_dicom
from orthanc import need
from pdu_mutations import associate_request
from services import free_port, wait_for_port
from sites import LISTEN, Site, wait_until
from tls_scan import OLDER, scan, shake_hands, table
from typer.testing import CliRunner, Result

from dicom_io.associations import server as association_server
from dicom_io.foundation.peer import Peer
from dicom_io.foundation.tls import CurrentTls, TlsFileError, TlsFiles
from dicom_io.services.storage_scp import StorageScp
from dicom_io.services.storage_scu import ScuSettings, echo, send
from dicom_io.storing.receiving import ScpSettings
from worker.care.check import check_everything
from worker.cli import app
from worker.figures.overview import read_overview
from worker.foundation.certificates import Authority, AuthorityUnusable, issue, open_authority
from worker.processes.listener import scp_settings
from worker.rows.database import database_now, open_engine, session_factory
from worker.settings.config import Settings, load_settings

pytestmark = pytest.mark.timeout(200)
HOST = "127.0.0.1"
YEAR = timedelta(days=365)


@dataclass(frozen=True)
class Certificates:
    """An authority's folder and what it issued: good, expired, early; and one of another authority."""

    folder: Path
    authority: Authority
    good: TlsFiles
    expired: TlsFiles
    early: TlsFiles
    foreign: TlsFiles


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder, elsewhere = tmp_path_factory.mktemp("certificates"), tmp_path_factory.mktemp("elsewhere")
    authority, stranger = open_authority(folder), open_authority(elsewhere)
    now = datetime.now(UTC)

    def made(name: str, begins: datetime, ends: datetime) -> TlsFiles:
        return TlsFiles(*issue(authority, name, folder, begins=begins, ends=ends), folder / "ca.pem")

    return Certificates(
        folder,
        authority,
        made("modality", now - YEAR, now + YEAR),
        made("expired", now - YEAR, now - timedelta(seconds=1)),
        made("early", now + timedelta(hours=1), now + YEAR),
        TlsFiles(*issue(stranger, "modality", elsewhere, ends=now + YEAR), folder / "ca.pem"),
    )


@pytest.fixture(scope="module")
def site(certificates: Certificates, sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A real listener with one port for each, which lets one modality in."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copyfile(sqlite_template, folder / "triage.db")
    certificate, key = issue(certificates.authority, HOST, folder, ends=datetime.now(UTC) + YEAR)
    settings = load_settings(
        data_dir=folder / "data",
        database_url=f"sqlite:///{folder / 'triage.db'}",
        minimum_free_bytes=0,
        listen_port=free_port(),
        listen_tls={
            "port": free_port(),
            "certificate_file": certificate,
            "key_file": key,
            "ca_file": certificates.folder / "ca.pem",
        },
        sources=[{"ae_title": "MODALITY"}],
    )
    made = Site(settings, folder / "log.txt")
    made.start_listening(LISTEN)
    yield made
    made.stop()


def tls_port(site: Site) -> int:
    assert site.settings.listen_tls is not None
    return site.settings.listen_tls.port


def dcmtk(program: str, port: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    titles = ["-aet", "MODALITY", "-aec", "CXRAI"]
    return subprocess.run(
        [need(program, "dcmtk"), *titles, *arguments[:-1], HOST, str(port), *arguments[-1:]]
        if program == "storescu"
        else [need(program, "dcmtk"), *titles, *arguments, HOST, str(port)],
        capture_output=True,
        text=True,
        timeout=60,
    )


def shown(files: TlsFiles) -> list[str]:
    return ["+tls", str(files.key), str(files.certificate), "+cf", str(files.ca)]


def test_dcmtk_with_a_certificate_of_the_authority_sends_by_tls_and_the_plain_port_stays(
    site: Site, certificates: Certificates, tmp_path: Path
) -> None:
    answered = dcmtk("echoscu", tls_port(site), *shown(certificates.good))
    assert answered.returncode == 0, answered.stderr
    source = chest_radiograph()
    path = write_dicom(source, tmp_path / "chest.dcm")
    for profile in ("+px", "+py", "+pz"):
        sent = dcmtk("storescu", tls_port(site), *shown(certificates.good), profile, str(path))
        assert sent.returncode == 0, sent.stderr
    assert site.study(source.StudyInstanceUID) is not None
    assert dcmtk("echoscu", site.settings.listen_port).returncode == 0


def called_with(site: Site, context: ssl.SSLContext, session: ssl.SSLSession | None) -> ssl.SSLSession | None:
    """Connect, offering a session of an earlier connection; return this one's, or None where nobody is let in."""
    connection = socket.create_connection((HOST, tls_port(site)), timeout=20)
    try:
        with context.wrap_socket(connection, session=session) as secured:
            secured.sendall(associate_request())
            return secured.session if secured.recv(1) else None  # an answer of DICOM; tickets come before it
    except OSError:
        return None


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_outlives_no_certificate(site: Site, certificates: Certificates, version: ssl.TLSVersion) -> None:
    """A resumed session (RFC 8446 2.2) shows no certificate, so that nobody would look at its end again."""
    ends = datetime.now(UTC) + timedelta(seconds=4)
    files = issue(certificates.authority, f"brief-{version.name}", certificates.folder, begins=ends - YEAR, ends=ends)
    context = TlsFiles(*files, certificates.folder / "ca.pem").context(server_side=False)
    context.minimum_version = context.maximum_version = version
    session = called_with(site, context, None)
    assert session is not None, "the certificate was good"
    wait_until(lambda: datetime.now(UTC) > ends + timedelta(seconds=1), "the certificate has expired")
    assert called_with(site, context, session) is None


def test_nobody_else_gets_in_and_the_log_says_why(site: Site, certificates: Certificates) -> None:
    for arguments, reason in (
        (["+tla", "-ic"], "peer did not return a certificate"),
        (shown(certificates.expired), "certificate has expired"),
        (shown(certificates.early), "certificate is not yet valid"),
        (shown(certificates.foreign), "unable to get local issuer certificate"),
        ([], "wrong version number"),
    ):
        before = site.log().count(reason)
        refused = dcmtk("echoscu", tls_port(site), *arguments)
        assert refused.returncode != 0, (reason, refused.stdout)
        wait_until(lambda before=before, reason=reason: site.log().count(reason) > before, reason, 10)
    by_tls_at_the_plain_port = dcmtk("echoscu", site.settings.listen_port, *shown(certificates.good))
    assert by_tls_at_the_plain_port.returncode != 0
    assert dcmtk("echoscu", tls_port(site), *shown(certificates.good)).returncode == 0


def test_tls_1_0_and_1_1_are_refused_by_the_server_not_by_the_client(site: Site, certificates: Certificates) -> None:
    shown = (certificates.good.certificate, certificates.good.key)
    for name in ("TLS 1.0", "TLS 1.1"):
        with pytest.raises(ssl.SSLError, match="ALERT_PROTOCOL_VERSION"):
            shake_hands(HOST, tls_port(site), OLDER[name], "ALL", shown)
    with pytest.raises(ssl.SSLError, match="ALERT_HANDSHAKE_FAILURE"):
        shake_hands(HOST, tls_port(site), OLDER["TLS 1.2"], "AES128-SHA:AES256-SHA256:DHE", shown)
    assert "GCM" in shake_hands(HOST, tls_port(site), OLDER["TLS 1.2"], "ALL", shown)


class NoReceiver:
    """Nobody stores anything here."""

    def accepting(self) -> bool:
        return True


@pytest.fixture
def serve() -> Iterator[Callable[[TlsFiles], StorageScp]]:
    running = []

    def start(files: TlsFiles) -> StorageScp:
        settings = ScpSettings("CXRAI", port=None, tls=files, tls_port=0, accept_unknown_callers=True)
        scp = StorageScp(settings, NoReceiver())  # type: ignore[arg-type]
        scp.start()
        running.append(scp)
        return scp

    yield start
    for scp in running:
        scp.stop(grace_seconds=1.0)


def test_what_is_offered_is_what_the_page_on_security_says(
    serve: Callable[[TlsFiles], StorageScp], certificates: Certificates, tmp_path: Path
) -> None:
    need("openssl", "openssl")
    shown = (certificates.good.certificate, certificates.good.key)
    rsa = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=rsa"]
    subprocess.run(
        [*rsa, "-keyout", tmp_path / "rsa-key.pem", "-out", tmp_path / "rsa.pem"], check=True, capture_output=True
    )
    rsa_files = TlsFiles(tmp_path / "rsa.pem", tmp_path / "rsa-key.pem", certificates.good.ca)
    scans = {
        "Suites with an EC certificate": scan(*serve(certificates.good).tls_address, shown),
        "Suites with an RSA certificate": scan(*serve(rsa_files).tls_address, shown),
    }
    page = Path(__file__).resolve().parents[3] / "docs" / "security.md"
    assert table(scans) in page.read_text(encoding="utf-8"), f"docs/security.md should say:\n{table(scans)}"


def serial_shown(port: int, client: TlsFiles) -> int:
    """Return the serial number of the certificate that the server shows."""
    context = client.context(server_side=False)
    with (
        socket.create_connection((HOST, port), 10) as connection,
        context.wrap_socket(connection) as secured,
    ):
        shown = secured.getpeercert(binary_form=True)
    assert shown is not None
    return x509.load_der_x509_certificate(shown).serial_number


def test_a_renewed_certificate_is_shown_without_a_restart_and_a_broken_one_never(
    site: Site, certificates: Certificates
) -> None:
    assert site.settings.listen_tls is not None
    files, port = site.settings.listen_tls.files(), tls_port(site)
    before = serial_shown(port, certificates.good)
    assert serial_shown(port, certificates.good) == before
    good = files.certificate.read_bytes()
    files.certificate.write_bytes(good[: len(good) // 2])
    assert serial_shown(port, certificates.good) == before
    wait_until(lambda: "TLS goes on with the former certificate" in site.log(), "the log names the broken file", 10)
    issue(certificates.authority, HOST, files.certificate.parent, ends=datetime.now(UTC) + YEAR)
    after = serial_shown(port, certificates.good)
    assert after != before
    assert dcmtk("echoscu", port, *shown(certificates.good)).returncode == 0


@contextmanager
def storescp(files: TlsFiles, folder: Path) -> Iterator[Peer]:
    """Run dcmtk's storescp with TLS: an archive that wants to see certificates of its authority."""
    port = free_port()
    command = [need("storescp", "dcmtk"), "+tls", str(files.key), str(files.certificate), "+cf", str(files.ca)]
    with subprocess.Popen([*command, "-od", str(folder), str(port)], stderr=subprocess.DEVNULL) as archive:
        try:
            wait_for_port(port, 20)
            yield Peer("ARCHIVE", HOST, port)
        finally:
            archive.terminate()


def test_results_go_by_tls_to_who_proves_to_be_the_archive_and_what_hinders_is_said_in_words(
    certificates: Certificates, tmp_path: Path
) -> None:
    good, of_others = certificates.good, certificates.foreign.certificate.parent / "ca.pem"
    path = write_dicom(chest_radiograph(), tmp_path / "report.dcm")
    (tmp_path / "archive").mkdir()
    with storescp(good, tmp_path / "archive") as archive:
        (sent,) = send(replace(archive, tls=good), [path], "CXRAI")
        assert sent.status == 0x0000
        assert len(list((tmp_path / "archive").iterdir())) == 1
        assert "unknown ca" in echo(replace(archive, tls=certificates.foreign), "CXRAI")
        assert "self-signed certificate in cert" in echo(replace(archive, tls=replace(good, ca=of_others)), "CXRAI")
        assert "expired" in echo(replace(archive, tls=certificates.expired), "CXRAI")
        assert echo(archive, "CXRAI") != ""
    with storescp(certificates.expired, tmp_path / "archive") as archive:
        assert "certificate has expired" in echo(replace(archive, tls=good), "CXRAI")


def test_a_peer_that_does_not_get_on_with_the_handshake_or_hangs_up_in_it_is_said_to(
    certificates: Certificates,
) -> None:
    with socket.create_server((HOST, 0)) as silent:
        peer = Peer("ARCHIVE", HOST, silent.getsockname()[1], certificates.good)
        said = echo(peer, "CXRAI", ScuSettings(connection_timeout_seconds=0.5))
        assert said.endswith(": no TLS, the other side takes too long")
        hanging_up = threading.Thread(target=_reset_next, args=(silent,))
        hanging_up.start()
        assert "no TLS, Connection reset by peer" in echo(peer, "CXRAI", ScuSettings(connection_timeout_seconds=5))
        hanging_up.join()


def _reset_next(server: socket.socket) -> None:
    for _ in range(2):  # the first is the one that was given up
        connection, _address = server.accept()
        connection.recv(1 << 16)  # the client's hello
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()


@pytest.mark.parametrize(
    ("answer", "language"),
    [(b"HTTP/1.1 400 Bad Request\r\n\r\n", "no DICOM"), (b"\x15\x03\x01\0\2\2\x46", "TLS")],
    ids=["a web server", "an alert of TLS"],
)
def test_an_archive_that_speaks_something_else_is_said_to(answer: bytes, language: str) -> None:
    with socket.create_server((HOST, 0)) as server:
        answering = threading.Thread(target=_answer_next, args=(server, answer))
        answering.start()
        said = echo(Peer("ARCHIVE", HOST, server.getsockname()[1]), "CXRAI")
        answering.join()
    assert said.endswith(f": it speaks {language}")


def _answer_next(server: socket.socket, answer: bytes) -> None:
    connection, _address = server.accept()
    with connection:
        connection.recv(1 << 16)
        connection.sendall(answer)


def test_check_says_until_when_certificates_are_good_and_fails_where_one_is_not(
    certificates: Certificates, sqlite_url: str, tmp_path: Path
) -> None:
    def checked(files: TlsFiles) -> tuple[bool, str]:
        tls = {"certificate_file": files.certificate, "key_file": files.key, "ca_file": files.ca}
        settings = load_settings(data_dir=tmp_path, database_url=sqlite_url, listen_port=free_port(), listen_tls=tls)
        (result,) = [item for item in check_everything(settings) if item.name == "TLS of listen_tls"]
        return result.passed, result.detail

    passed, detail = checked(certificates.good)
    assert passed
    assert f"{datetime.now(UTC) + YEAR:%Y-%m-%d}" in detail
    for files, word in ((certificates.expired, "expired on"), (certificates.early, "is good from")):
        passed, detail = checked(files)
        assert not passed
        assert word in detail
    passed, detail = checked(replace(certificates.good, key=certificates.early.key))
    assert not passed
    assert "does not fit its key" in detail


@pytest.mark.parametrize("plain", [True, False])
def test_check_asks_the_listener_by_c_echo_over_tls_where_it_has_a_certificate_for_that(
    certificates: Certificates, sqlite_url: str, tmp_path: Path, plain: bool
) -> None:
    good, foreign = certificates.good, certificates.foreign

    def settings_with(files: TlsFiles, **others: Any) -> Settings:
        return load_settings(
            data_dir=tmp_path, database_url=sqlite_url, listen_host=HOST, listen_plain=plain, listen_port=free_port(),
            listen_tls=named(files) | {"port": free_port()}, sources=[{"ae_title": "MODALITY"}], **others,
        )  # fmt: skip

    def checked(settings: Settings, running: Settings | None = None) -> tuple[bool, str]:
        scp = StorageScp(scp_settings(running or settings), NoReceiver())  # type: ignore[arg-type]
        scp.start()
        try:
            (result,) = [item for item in check_everything(settings) if item.name == "listener"]
        finally:
            scp.stop()
        return result.passed, result.detail

    passed, detail = checked(settings_with(good))
    assert passed, detail
    assert detail.endswith("answered C-ECHO, answered C-ECHO over TLS" if plain else " answered C-ECHO over TLS")
    passed, detail = checked(settings_with(foreign))
    assert passed, detail
    assert "was not asked by C-ECHO there" in detail
    archive = {"name": "pacs", "ae_title": "PACS", "host": HOST, "port": 1, "tls": named(good)}
    passed, detail = checked(settings_with(foreign, destinations=[archive]))
    assert passed, detail
    assert detail.endswith("answered C-ECHO over TLS")
    configured = settings_with(good)
    assert configured.listen_tls is not None
    others = configured.listen_tls.model_copy(update={"certificate_file": foreign.certificate, "key_file": foreign.key})
    passed, detail = checked(configured, configured.model_copy(update={"listen_tls": others}))
    assert not passed
    assert f"port {configured.listen_tls.port}" in detail


def named(files: TlsFiles) -> dict[str, Path]:
    """Return TLS files as the configuration names them."""
    return {"certificate_file": files.certificate, "key_file": files.key, "ca_file": files.ca}


def test_the_operations_page_names_certificates_before_they_end(
    certificates: Certificates, sqlite_url: str, tmp_path: Path
) -> None:
    soon = issue(certificates.authority, "soon", tmp_path, ends=datetime.now(UTC) + timedelta(days=20))
    engine = open_engine(sqlite_url)

    def sentences(certificate: Path, key: Path) -> list[str]:
        tls = {"certificate_file": certificate, "key_file": key, "ca_file": certificates.good.ca}
        settings = load_settings(data_dir=tmp_path, database_url=sqlite_url, listen_tls=tls)
        with session_factory(engine)() as session:
            overview = read_overview(session, settings, database_now(session))
        return [item.sentence for item in overview.attention if "certificate" in item.sentence]

    try:
        assert sentences(certificates.good.certificate, certificates.good.key) == []
        (sentence,) = sentences(*soon)
        assert sentence.startswith("the certificate of CN=soon (listen_tls) ends on ")
        (sentence,) = sentences(certificates.expired.certificate, certificates.expired.key)
        assert "ENDED" in sentence
        assert sentences(tmp_path / "not-here.pem", certificates.good.key) == []
    finally:
        engine.dispose()


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1 << 16)
    except ConnectionError:
        return b""


def test_half_a_handshake_is_cut_and_takes_no_place(
    serve: Callable[[TlsFiles], StorageScp], certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(association_server, "HANDSHAKE_SECONDS", 0.5)
    monkeypatch.setattr(association_server, "MAXIMUM_HANDSHAKES", 5)
    scp = serve(certificates.good)
    host, port = scp.tls_address
    hello = bytes.fromhex("16030100f5010000f10303")
    slow = [socket.create_connection((host, port), 10) for _ in range(8)]
    for connection in slow:
        connection.sendall(hello)
    began = time.monotonic()
    for connection in slow:
        connection.settimeout(10)
        while _received(connection):
            continue
        connection.close()
    assert time.monotonic() - began < 5.0
    assert echo(Peer("CXRAI", host, port, certificates.good), "MODALITY") == ""


def test_of_too_many_silent_handshakes_the_oldest_is_closed_and_peers_get_in(
    serve: Callable[[TlsFiles], StorageScp], certificates: Certificates
) -> None:
    scp = serve(certificates.good)
    host, port = scp.tls_address
    more = 20
    with ExitStack() as held:
        silent = [
            held.enter_context(socket.create_connection((host, port), 5))
            for _ in range(association_server.MAXIMUM_HANDSHAKES + more)
        ]
        assert [_received(connection) for connection in silent[:more]] == [b""] * more
        began = time.monotonic()
        assert echo(Peer("CXRAI", host, port, certificates.good), "MODALITY") == ""
        assert time.monotonic() - began < association_server.HANDSHAKE_SECONDS / 2
        silent[-1].settimeout(0.2)
        with pytest.raises(TimeoutError):  # open still
            silent[-1].recv(1)
        assert threading.active_count() < 2 * association_server.MAXIMUM_HANDSHAKES


def test_files_that_cannot_be_used_are_named(certificates: Certificates, tmp_path: Path) -> None:
    good, missing = certificates.good, tmp_path / "missing.pem"
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    for files, named in (
        (replace(good, certificate=missing), missing),
        (replace(good, ca=missing), missing),
        (replace(good, ca=empty), empty),
        (replace(good, key=certificates.early.key), good.certificate),
    ):
        with pytest.raises(TlsFileError) as raised:
            CurrentTls(files)
        assert raised.value.filename == str(named)
    assert "missing.pem" in echo(Peer("ARCHIVE", HOST, 9, replace(good, key=missing)), "CXRAI")


def test_an_encrypted_key_is_named_and_nobody_is_asked_for_its_password(
    certificates: Certificates, tmp_path: Path
) -> None:
    """In a session with a terminal, where OpenSSL would ask there and hold up every connection meanwhile."""
    encrypted = tmp_path / "encrypted.pem"
    command = ["openssl", "pkey", "-aes256", "-passout", "pass:secret", "-in", certificates.good.key, "-out", encrypted]
    subprocess.run(command, check=True, capture_output=True)
    program = (
        "from pathlib import Path; from dicom_io.foundation.tls import *; import sys\n"
        "try: CurrentTls(TlsFiles(*map(Path, sys.argv[1:])))\n"
        "except TlsFileError as error: print(error.filename, error.strerror)"
    )
    paths = [str(path) for path in (certificates.good.certificate, encrypted, certificates.good.ca)]
    asked, terminal = pty.openpty()
    try:
        said = subprocess.run(
            [sys.executable, "-c", program, *paths], capture_output=True, text=True, timeout=20, stdin=terminal,
            preexec_fn=lambda: (os.setsid(), fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)),  # its own terminal
        )  # fmt: skip
    finally:
        os.close(asked)
        os.close(terminal)
    assert f"{encrypted} is encrypted; keep it without a password" in said.stdout, said.stderr


def test_the_command_makes_an_authority_once_and_certificates_that_verify(tmp_path: Path) -> None:
    def certs(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["certs", *arguments])

    folder = tmp_path / "tls"
    assert certs(str(folder), "cxr.example.org", "192.0.2.10").exit_code == 0
    authority = (folder / "ca.pem").read_bytes()
    first = (folder / "192.0.2.10.pem").read_bytes()
    assert certs(str(folder), "192.0.2.10", "--days", "30").exit_code == 0
    assert (folder / "ca.pem").read_bytes() == authority
    assert (folder / "192.0.2.10.pem").read_bytes() != first
    for name in ("cxr.example.org", "192.0.2.10"):
        verify = ["openssl", "verify", "-x509_strict", "-CAfile", folder / "ca.pem", folder / f"{name}.pem"]
        verified = subprocess.run(verify, capture_output=True, text=True)
        assert verified.returncode == 0, verified.stderr
        assert (folder / f"{name}-key.pem").stat().st_mode & 0o077 == 0
    for refused in ("../x", "-", "a b"):
        assert certs(str(folder), "--", refused).exit_code == 2
    (folder / "ca-key.pem").unlink()
    lost = certs(str(folder), "cxr.example.org")
    assert isinstance(lost.exception, AuthorityUnusable)
    assert "restore them or choose another folder" in str(lost.exception)
