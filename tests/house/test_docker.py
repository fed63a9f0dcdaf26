"""The container files are linted; the image itself is built by hand where an engine exists."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from worker.settings.config import Settings, load_settings
from worker.settings.hl7_listener import Hl7Listener

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "docker" / "compose.yaml"


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).parent / command[0]), *command[1:]], capture_output=True, text=True, check=False
    )


def test_dockerfile_passes_hadolint() -> None:
    done = run("hadolint", str(ROOT / "docker" / "Dockerfile"))
    assert done.returncode == 0, done.stdout


def test_hadolint_would_complain_about_a_bad_dockerfile(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM python\nRUN cd /tmp && apt-get install foo\n")
    assert run("hadolint", str(tmp_path / "Dockerfile")).returncode != 0


def test_compose_file_follows_the_compose_specification() -> None:
    done = run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE))
    assert done.returncode == 0, done.stdout + done.stderr


def test_image_copies_every_package() -> None:
    copied = set(re.findall(r"^COPY (\w+) \w+$", (ROOT / "docker" / "Dockerfile").read_text(), re.MULTILINE))
    assert copied == {"dicom_io", "hl7_io", "migrations", "model", "training", "worker", "worklist"}


@pytest.mark.parametrize("service", ["migrate", "listen", "work", "deliver", "sweep", "hl7", "shadow"])
def test_each_service_runs_a_command_that_the_worker_has(service: str) -> None:
    from worker.cli import app

    package, *command = yaml.safe_load(COMPOSE.read_text())["services"][service]["command"]
    assert package == "worker"
    assert CliRunner().invoke(app, [*command, "--help"]).exit_code == 0


def test_every_queue_is_served_by_some_service_and_by_some_line_of_the_readme() -> None:
    services = yaml.safe_load(COMPOSE.read_text())["services"].values()
    in_compose = [" ".join(service.get("command", ())) for service in services]
    in_readme = re.findall(r"^python -m (worker work.*?) --config", (ROOT / "README.md").read_text(), re.MULTILINE)
    for commands in (in_compose, in_readme):
        works = [command for command in commands if command.startswith("worker work")]
        assert sorted(works) == ["worker work", "worker work --queues delivery"]  # the first serves stat and routine


def test_compose_sets_only_variables_that_the_configuration_knows() -> None:
    known = {f"CXR_{name.upper()}" for name in Settings.model_fields} | {"CXR_CONFIG"}
    known |= {f"CXR_HL7_LISTENER__{name.upper()}" for name in Hl7Listener.model_fields}
    for service in yaml.safe_load(COMPOSE.read_text())["services"].values():
        names = {name.removesuffix("_FILE") if name not in known else name for name in service.get("environment", {})}
        assert {name for name in names if name.startswith("CXR_")} <= known


def test_example_site_configuration_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_CONFIG", str(ROOT / "docker" / "site.toml"))
    settings = load_settings()
    assert settings.destinations[0].peer().port == 104
    assert not settings.allow_demonstration_bundle
