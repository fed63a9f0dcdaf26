"""Every command in the README exists and takes the options shown; those that end by themselves are really run."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
import typer.main
from forks import run_command

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
COMMANDS = [line for language, block in BLOCKS if language == "sh" for line in block.splitlines() if line]
PYTHON_COMMANDS = [line for line in COMMANDS if line.startswith("python -m ")]


USAGE_ERROR = typer.BadParameter.__mro__[1]  # click's UsageError, of whichever click typer carries


def command_tree(package: str) -> Any:
    """Return the command (group) that ``python -m package`` runs."""
    if package == "worker":
        from worker.cli import app
    elif package == "worklist":
        from worklist.cli import app
    elif package == "model":
        from model.cli import app
    else:
        from training.cli import app
    return typer.main.get_command(app)


def parse(command: Any, arguments: Sequence[str], name: str) -> None:
    """Parse as the program would, without running anything; raises USAGE_ERROR on a wrong name or option."""
    with command.make_context(name, list(arguments)) as context:
        rest = [*context._protected_args, *context.args]
        if rest and hasattr(command, "resolve_command"):
            sub_name, sub, arguments = command.resolve_command(context, rest)
            parse(sub, arguments, sub_name)


def test_the_readme_shows_commands_of_every_program() -> None:
    assert {line.split()[2] for line in PYTHON_COMMANDS} == {"worker", "worklist", "model", "training"}


@pytest.mark.parametrize("line", PYTHON_COMMANDS)
def test_command_and_options_exist(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site.toml").write_text("")
    for folder in ("folder", "phantom-data"):
        (tmp_path / folder).mkdir()
    (tmp_path / "model").symlink_to(ROOT / "model")
    monkeypatch.chdir(tmp_path)
    package, *arguments = shlex.split(line)[2:]
    parse(command_tree(package), arguments, package)


def test_a_wrong_option_would_be_found() -> None:
    with pytest.raises(USAGE_ERROR):
        parse(command_tree("worker"), ["studies", "--no-such-option"], "worker")


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("make ")])
def test_make_target_exists(line: str) -> None:
    done = subprocess.run([*shlex.split(line), "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_files_and_pictures_the_readme_names_exist() -> None:
    named = set(re.findall(r"\]\(((?!http)[^)]+)\)", README)) | set(
        re.findall(r"`(docs/[\w./-]+|docker/[\w./-]+)`", README)
    )
    missing = [name for name in named if name != "docker/secrets/" and not (ROOT / name).exists()]
    assert missing == []


def test_parts_named_in_how_it_works_are_files_or_rooms() -> None:
    chain = next(block for language, block in BLOCKS if "--C-STORE-->" in block)
    parts = set(re.findall(r"\b(?:dicom_io/(?:\w+/)?|worker/\w+/|model/)\w+", chain))
    assert len(parts) > 10
    assert [
        part for part in sorted(parts) if not any((ROOT / f"{part}{end}.py").exists() for end in ("", "/__init__"))
    ] == []


def site_configuration(folder: Path) -> Path:
    """Write the README's own example configuration, moved to a free port and a temporary folder."""
    text = next(block for language, block in BLOCKS if language == "toml")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    text = text.replace('data_dir = "/var/lib/cxr"', f'data_dir = "{folder / "data"}"')
    text = text.replace(
        'default = "/var/lib/cxr/bundles/chest14"', f'default = "{ROOT / "model/bundles/phantom-densenet121"}"'
    )
    text = text.replace("listen_port = 11112", f"listen_port = {port}").replace("192.0.2.10", "127.0.0.1")
    path = folder / "site.toml"
    path.write_text("allow_demonstration_bundle = true\n" + text, encoding="utf-8")
    return path


def run(line: str, folder: Path, *, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run one README line in ``folder`` as a newcomer would."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CXR_")}
    environment["PYTHONPATH"] = str(ROOT)
    _python, _option, module, command, *arguments = shlex.split(line)
    if module == "worker" and command != "migrate":  # each starts as this, the first of them, does
        return run_command(module, [command, *arguments], environment, folder)
    return subprocess.run(
        [sys.executable, *shlex.split(line)[1:]],
        cwd=folder,
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_administrators_commands_run_in_the_order_shown(tmp_path: Path) -> None:
    site_configuration(tmp_path)
    for line in PYTHON_COMMANDS:
        if line.split()[2:4] in (["worker", "migrate"], ["worker", "studies"]):
            done = run(line, tmp_path)
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    unknown = run(next(line for line in PYTHON_COMMANDS if "worker show" in line), tmp_path)
    assert unknown.returncode == 1
    assert "1.2.826.0.1.3680043.8.498.1" in unknown.stderr + unknown.stdout
    check = run(next(line for line in PYTHON_COMMANDS if "worker check" in line), tmp_path)
    assert check.returncode == 1, "the example PACS does not exist, so check must say so"
    assert "archive" in check.stdout
    assert "Traceback" not in unknown.stderr + check.stderr


@pytest.mark.parametrize("line", [line for line in PYTHON_COMMANDS if line.startswith("python -m model")])
def test_the_model_commands_run(line: str) -> None:
    done = run(line, ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
