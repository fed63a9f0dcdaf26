"""The configuration refuses what cannot work, and names every mistake at once."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from worker.settings.config import ConfigurationError, Settings, load_settings

PEER = {"name": "pacs", "ae_title": "PACS", "host": "192.0.2.10", "port": 104}


@pytest.fixture(autouse=True)
def _no_outside_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("CXR_")]:
        monkeypatch.delenv(name)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_are_loopback_sqlite_and_closed_to_strangers(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path)
    assert settings.listen_host == settings.worklist_host == "127.0.0.1"
    assert settings.effective_database_url == f"sqlite:///{tmp_path.resolve() / 'triage.db'}"
    assert not settings.accept_unknown_sources
    assert not settings.allow_demonstration_bundle


def test_every_mistake_is_named_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(ae_title="A TITLE LONGER THAN SIXTEEN", listen_port=0, quiet_time_seconds=-1)
    message = str(caught.value)
    assert all(field in message for field in ("ae_title", "listen_port", "quiet_time_seconds"))


def test_an_unknown_field_is_refused_not_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_CONFIG", str(write(tmp_path / "site.toml", "listen_prot = 104\n")))
    with pytest.raises(ConfigurationError, match="listen_prot"):
        load_settings()


def test_an_unknown_key_says_what_may_be_meant(tmp_path: Path) -> None:
    text = 'listen_prot = 104\n[[sources]]\nae_title = "PACS"\nurgnet = true\nworklist_host = "0.0.0.0"\nxyzzy = 1\n'
    with pytest.raises(ConfigurationError) as caught:
        load_settings(write(tmp_path / "site.toml", text))
    lines = str(caught.value).splitlines()
    assert "  listen_prot: there is no such key; did you mean listen_port?" in lines
    assert "  sources.0.urgnet: there is no such key; did you mean urgent?" in lines
    assert "  sources.0.xyzzy: there is no such key" in lines
    assert any(line.startswith("  sources.0.worklist_host:") and "above the first [table]" in line for line in lines)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"listen_port": "x"}, "listen_port: must be a whole number"),
        ({"listen_port": 1.5}, "listen_port: must be a whole number"),
        ({"listen_port": 99999}, "listen_port: must be 65535 or less"),
        ({"lease_seconds": 0}, "lease_seconds: must be more than 0"),
        ({"include_negatives": "perhaps"}, "include_negatives: must be true or false"),
        ({"site_name": 7}, "site_name: must be text, in quotes"),
        ({"sources": 7}, "sources: must be a list of tables: write each as [[sources]]"),
        (
            {"sources": [{"ae_title": "A", "hosts": ["pacs.example.org"]}]},
            "sources.0.hosts.0: must be an IP address such",
        ),
        ({"sources": [{"ae_title": "A", "hosts": "192.0.2.7"}]}, "sources.0.hosts: must be a list, in [ ]"),
        (
            {"hl7_listener": {"allowed_hosts": ["192.0.2.7/33"]}},
            "hl7_listener.allowed_hosts.0: must be an IP address or a",
        ),
        ({"sources": [7]}, "sources.0: must be a table of keys and values"),
        ({"sources": [{}]}, "sources.0.ae_title: is needed"),
        ({"thresholds": 7}, "thresholds: must be a table of keys and values"),
        ({"thresholds": {"Effusion": 55}}, "thresholds.Effusion: must be 1 or less"),
        ({"thresholds": {"Efusion": 0.5}}, "thresholds: Efusion is no finding; did you mean Effusion?"),
        ({"data_dir": 7}, "data_dir: must be a path, in quotes"),
        ({"runtime": "gpu"}, "runtime: must be 'auto', 'openvino', 'torch' or 'cuda'"),
        ({"ae_title": "A TITLE LONGER THAN SIXTEEN"}, "ae_title: must have at most 16 characters"),
        ({"ae_title": "   "}, "ae_title: must be letters, digits and signs of ASCII without a backslash"),
        ({"ae_title": "BACK\\SLASH"}, "ae_title: must be letters, digits and signs of ASCII without a backslash"),
        ({"page_url": "cxr.example.org"}, "page_url: must be an address that begins with https:// or http://"),
        ({"webhooks": [{"name": "w", "url": "x"}]}, "webhooks.0.url: must be an address that begins with https://"),
        ({"viewers": [{"name": "v", "url": "https://x/"}]}, "viewers.0.url: must be an address (http://"),
        ({"destinations": [PEER | {"host": ""}]}, "destinations.0.host: must have at least 1 character"),
        ({"ups": {"peers": []}}, "ups.peers: must have at least 1 item"),
    ],
)
def test_a_mistake_is_told_in_words_of_the_file_and_not_of_a_program(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(**given)
    assert any(line.startswith(f"  {said}") for line in str(caught.value).splitlines()), str(caught.value)


def models_in(annotation: Any, known: frozenset[Any] = frozenset()) -> set[type[BaseModel]]:
    """Return the tables that the settings are made of; one may hold others of its kind."""
    if annotation in known:
        return set()
    own, inner = set(), get_args(annotation)
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        own, inner = {annotation}, tuple(field.annotation for field in annotation.model_fields.values())
    return own.union(*(models_in(each, known | {annotation}) for each in inner))


def holds_path(annotation: Any) -> bool:
    return annotation is Path or any(map(holds_path, get_args(annotation)))


PATHS = [
    pytest.param(field, id=f"{model.__name__}.{name}")
    for model in sorted(models_in(Settings), key=lambda model: model.__name__)
    for name, field in model.model_fields.items()
    if holds_path(field.annotation)
]


@pytest.mark.parametrize("field", PATHS)
@pytest.mark.parametrize(("path", "said"), [("", "names no file or folder"), ("a\0b", "zero byte")])
def test_a_path_is_that_of_something(field: FieldInfo, path: str, said: str) -> None:
    """An empty one would be the folder that the process is started in."""
    takes: TypeAdapter[Any] = TypeAdapter(Annotated[field.annotation, "as declared", *field.metadata])
    with pytest.raises(ValidationError, match=said):
        takes.validate_python({"default": path} if get_origin(field.annotation) is dict else path)


def test_an_empty_path_is_refused_by_the_name_of_its_key(tmp_path: Path) -> None:
    text = 'data_dir = ""\n[bundles]\ndefault = ""\n'
    with pytest.raises(ConfigurationError) as caught:
        load_settings(write(tmp_path / "site.toml", text))
    lines = str(caught.value).splitlines()[1:]
    assert [line.partition(":")[0] for line in lines] == ["  data_dir", "  bundles.default"]


@pytest.mark.parametrize("address", ["sqlite:///", "sqlite:///:memory:"])
def test_a_database_that_ends_with_each_process_is_none(address: str) -> None:
    with pytest.raises(ConfigurationError, match="database_url: must name a file"):
        load_settings(database_url=address)


def test_a_list_is_not_called_short_for_a_mistake_in_it() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(ups={"peers": [{"ae_title": "VIEWER", "prot": 1}]})
    assert str(caught.value).splitlines()[1:] == ["  ups.peers.0.prot: there is no such key; did you mean port?"]


def test_a_mistake_in_a_variable_names_it_and_one_in_a_file_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "site.toml", "listen_port = 0\n[hl7_listener]\nport = 7000\n")
    monkeypatch.setenv("CXR_WORKLIST_PORT", "http")
    monkeypatch.setenv("CXR_HL7_LISTENER__PROT", "1")
    with pytest.raises(ConfigurationError) as caught:
        load_settings(file)
    said = str(caught.value)
    assert f"of {file}" in said
    assert "worklist_port: must be a whole number (the variable CXR_WORKLIST_PORT)" in said
    assert "did you mean port? (the variable CXR_HL7_LISTENER__PROT)" in said
    assert "listen_port: must be 1 or more\n" in f"{said}\n"


def test_a_table_that_a_variable_alone_makes_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_LISTEN_TLS__PORT", "2762")
    monkeypatch.setenv("CXR_LISTEN_PORT", "0")
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    said = str(caught.value).splitlines()
    missing = [line for line in said if line.startswith("  listen_tls.")]
    assert missing
    assert all("CXR_LISTEN_TLS__PORT" in line for line in missing)
    assert [line for line in said if line.startswith("  listen_port") and "TLS" in line] == []


@pytest.mark.parametrize("address", ["postgresql://u:hidden@db/cxr", "mysql://u:hidden@db/cxr", "hidden"])
@pytest.mark.parametrize("field", ["database_url", "broker_url"])
def test_an_address_of_another_kind_is_refused_without_being_repeated(field: str, address: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"{field}: must begin with") as caught:
        load_settings(**{field: address})
    assert "hidden" not in str(caught.value)


def test_a_variable_that_is_not_json_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_SOURCES", "PACS")
    with pytest.raises(ConfigurationError, match="the variable CXR_SOURCES of the environment is not valid JSON"):
        load_settings()


def test_environment_wins_over_the_file_and_arguments_win_over_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXR_CONFIG", str(write(tmp_path / "site.toml", 'listen_port = 104\nae_title = "FILE"\n')))
    monkeypatch.setenv("CXR_LISTEN_PORT", "105")
    assert (load_settings().listen_port, load_settings().ae_title) == (105, "FILE")
    assert load_settings(listen_port=106).listen_port == 106


def test_a_file_that_is_handed_over_is_read_and_stays_this_calls_own(tmp_path: Path) -> None:
    assert load_settings(write(tmp_path / "site.toml", "listen_port = 104\n")).listen_port == 104
    assert load_settings().listen_port == Settings().listen_port != 104


def test_a_secret_is_read_from_the_file_its_variable_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = write(tmp_path / "url", "postgresql+psycopg://cxr:secret@db/cxr\n")
    monkeypatch.setenv("CXR_DATABASE_URL_FILE", str(secret))
    assert load_settings().effective_database_url == "postgresql+psycopg://cxr:secret@db/cxr"
    monkeypatch.setenv("CXR_DATABASE_URL", "sqlite:///other.db")
    assert load_settings().effective_database_url == "postgresql+psycopg://cxr:secret@db/cxr"
    monkeypatch.setenv("CXR_DATABASE_URL_FILE", str(tmp_path / "absent"))
    with pytest.raises(ConfigurationError, match="CXR_DATABASE_URL_FILE"):
        load_settings()


def test_the_page_leaves_loopback_only_with_a_login(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="worklist_password_hash_file"):
        load_settings(worklist_host="0.0.0.0")  # noqa: S104 (refused, that is the point)
    assert load_settings(worklist_host="0.0.0.0", worklist_password_hash_file=tmp_path / "hash")  # noqa: S104


def test_a_source_may_not_name_a_bundle_that_is_not_configured() -> None:
    with pytest.raises(ConfigurationError, match="chest14"):
        load_settings(sources=[{"ae_title": "CR1", "bundle": "chest14"}])


def test_no_two_destinations_share_a_name_and_hl7_names_hold_no_delimiters() -> None:
    pacs = {"name": "archive", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}
    ris = {"name": "archive", "host": "127.0.0.1"}
    with pytest.raises(ConfigurationError, match="each name may stand once"):
        load_settings(destinations=[pacs], hl7_destinations=[ris])
    with pytest.raises(ConfigurationError, match="receiving_application"):
        load_settings(hl7_destinations=[ris | {"receiving_application": "A|B"}])
    with pytest.raises(ConfigurationError, match="announce"):
        load_settings(hl7_destinations=[ris | {"announce": ["HIGH"]}])


def test_a_missing_or_broken_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_CONFIG", str(tmp_path / "none.toml"))
    with pytest.raises(ConfigurationError, match=r"none\.toml does not exist"):
        load_settings()
    with pytest.raises(ConfigurationError, match="is not a file"):
        load_settings(tmp_path)
    monkeypatch.setenv("CXR_CONFIG", str(write(tmp_path / "broken.toml", "listen_port = = 1")))
    with pytest.raises(ConfigurationError, match="not valid TOML"):
        load_settings()


@pytest.mark.parametrize("host", ["pacs..example.org", "x" * 64 + ".example.org"])
@pytest.mark.parametrize("field", ["destinations", "hl7_destinations", "mails", "reconcile", "ups"])
def test_a_host_that_no_resolver_takes_is_a_mistake_of_the_configuration(field: str, host: str) -> None:
    """Each attempt to connect would end in an error that nobody expects of a connection."""
    peer = {"name": "pacs", "ae_title": "PACS", "host": host, "port": 104}
    tables: dict[str, Any] = {
        "destinations": [peer],
        "hl7_destinations": [{"name": "ris", "host": host}],
        "mails": [{"name": "desk", "host": host, "sender": "a@example.org", "recipients": ["b@example.org"]}],
        "reconcile": {"ae_title": "PACS", "host": host, "port": 104},
        "ups": {"peers": [{"ae_title": "PACS", "host": host, "port": 104}]},
    }
    with pytest.raises(ConfigurationError, match=r"host: this is neither a host name nor an IP address"):
        load_settings(**{field: tables[field]})


@pytest.mark.parametrize("host", ["192.0.2.7", "::1", "pacs", "pacs.example.org.", "b\u00fccher.example.org"])
def test_addresses_and_names_are_hosts(host: str) -> None:
    destination = {"name": "pacs", "ae_title": "PACS", "host": host, "port": 104}
    assert load_settings(destinations=[destination]).destinations[0].host == host


def test_a_time_zone_must_be_known() -> None:
    assert load_settings(time_zone="Europe/Berlin").time_zone == "Europe/Berlin"
    for wrong in ("Mars/Olympus", "../etc/passwd", ""):
        with pytest.raises(ConfigurationError, match="time_zone"):
            load_settings(time_zone=wrong)


def test_settings_cannot_be_changed_after_loading() -> None:
    settings = load_settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.listen_port = 1  # type: ignore[misc]
