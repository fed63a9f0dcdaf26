"""What several pages have to say: every key of the configuration, what makes a study STAT, no medical device."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
import typer.main
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typer.testing import CliRunner

from dicom_io.results.codes import display_name
from dicom_io.selection.site_rules import Condition, SiteRule
from model.cli import app as model_app
from training.cli import app as training_app
from worker.cli import app as worker_app
from worker.rows import delivery_tables, run_tables, site_tables, study_tables, workitem_tables  # noqa: F401
from worker.rows.base import Base
from worker.rows.states import Priority
from worker.runs.policy import TIERS, level_of
from worker.settings.config import Settings
from worker.settings.hl7 import Hl7Destination
from worker.settings.hl7_listener import Hl7Listener
from worker.settings.notifications import Mail, Webhook
from worker.settings.peers import Destination, Source
from worker.settings.reconcile import Reconcile
from worker.settings.retention import Retention
from worker.settings.tls import ListenTls, Tls
from worker.settings.ups import Ups, UpsPeer
from worker.settings.viewer import Viewer
from worklist.cli import app as worklist_app

DOCS = Path(__file__).resolve().parents[2] / "docs"
CONFIGURATION = (DOCS / "configuration.md").read_text(encoding="utf-8")
SECTIONS: dict[str, tuple[type[BaseModel], ...]] = {
    "Above the first table": (Settings,),
    "`[[sources]]`": (Source,),
    "`[[site_rules]]`": (SiteRule, Condition),
    "`[[destinations]]`": (Destination,),
    "`[listen_tls]`, and `tls` of others": (ListenTls, Tls),
    "`[reconcile]`": (Reconcile,),
    "`[retention]`": (Retention,),
    "`[[hl7_destinations]]`": (Hl7Destination,),
    "`[hl7_listener]`": (Hl7Listener,),
    "`[[webhooks]]` and `[[mails]]`": (Webhook, Mail),
    "`[ups]`": (Ups,),
    "`[[ups.peers]]`": (UpsPeer,),
    "`[[viewers]]`": (Viewer,),
}
"""Heading of docs/configuration.md -> the models whose keys stand below it."""
WITHOUT_A_WARNING = {"licences.md", "performance.md"}


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield every model of the configuration that this annotation leads to."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from models_in(part)


def reachable(model: type[BaseModel], seen: set[type[BaseModel]]) -> set[type[BaseModel]]:
    if model not in seen:
        seen.add(model)
        for field in model.model_fields.values():
            for part in models_in(field.annotation):
                reachable(part, seen)
    return seen


def described(heading: str) -> dict[str, str]:
    """Return the keys below a heading of docs/configuration.md with their defaults, as written."""
    section = CONFIGURATION.split(f"\n### {heading}\n", 1)[1].split("\n### ", 1)[0].split("\n## ", 1)[0]
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| [^|]{8,} \|[^|]*\|$", section, re.MULTILINE)
    assert len(rows) == section.count("\n| `"), f"a row under {heading} has other columns"
    assert len(dict(rows)) == len(rows), f"a key stands twice under {heading}"
    return {name: default.strip() for name, default in rows}


def in_words(field: FieldInfo) -> str | None:
    """Return a default as the page writes it; None where it is made at the start."""
    if field.is_required():
        return "needed"
    default = field.default
    if field.default_factory is not None or isinstance(default, BaseModel):
        return None
    if isinstance(default, Enum):
        default = default.value
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, float):
        return f"{default:g}"
    if isinstance(default, tuple):
        default = ", ".join(default)
    return "none" if default in (None, "") else str(default)


def test_every_table_of_the_configuration_has_a_section() -> None:
    assert reachable(Settings, set()) == {model for models in SECTIONS.values() for model in models}
    assert re.findall(r"^### (.+)$", CONFIGURATION, re.MULTILINE) == list(SECTIONS)


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_key_stands_on_the_page_with_its_default(heading: str) -> None:
    fields = {name: field for model in SECTIONS[heading] for name, field in model.model_fields.items()}
    rows = described(heading)
    assert set(rows) == set(fields)
    wrong = {name: (rows[name], in_words(field)) for name, field in fields.items() if in_words(field) is not None}
    assert {name: pair for name, pair in wrong.items() if pair[0] != pair[1]} == {}


def test_pages_that_the_configuration_page_names_exist() -> None:
    named = set(re.findall(r"\]\(([\w.]+\.md)\)", CONFIGURATION))
    assert named
    assert [name for name in sorted(named) if not (DOCS / name).exists()] == []


def test_the_page_says_which_finding_gives_which_priority() -> None:
    page = (DOCS / "worklist.md").read_text(encoding="utf-8")
    section = page.split("\n## What makes a study STAT\n", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| (STAT|URGENT|ROUTINE) \| (.+) \|$", section, re.MULTILINE)
    by_urgency = sorted(TIERS, key=lambda label: (TIERS[label][0].order, TIERS[label][1]), reverse=True)
    assert rows == [
        (level.value, ", ".join(display_name(label) for label in by_urgency if level_of(label) is level))
        for level in (Priority.STAT, Priority.URGENT, Priority.ROUTINE)
    ]


def test_the_database_page_describes_every_table() -> None:
    page = (DOCS / "database.md").read_text(encoding="utf-8")
    section = page.split("\n## Tables\n", 1)[1].split("\nWhere patient data stand", 1)[0]
    rows = re.findall(r"^\| (\w+) \| .+ \|$", section, re.MULTILINE)
    assert sorted(rows) == sorted([*Base.metadata.tables, "table"])


@pytest.mark.parametrize("name", sorted({path.name for path in DOCS.glob("*.md")} - WITHOUT_A_WARNING))
def test_every_page_says_that_this_is_no_medical_device(name: str) -> None:
    assert "medical device" in (DOCS / name).read_text(encoding="utf-8").lower()


def commands_of(group: Any) -> Iterator[Any]:
    """Yield a command line and every command below it, loaded."""
    yield group
    for name in getattr(group, "commands", {}):
        yield from commands_of(group.get_command(None, name).make_context(name, [], resilient_parsing=True).command)


@pytest.mark.parametrize("app", [worker_app, training_app, model_app, worklist_app])
def test_no_paragraph_of_the_help_keeps_the_line_ends_of_its_source(app: typer.Typer) -> None:
    """A terminal wraps it anew: lines of 120 columns left a word or two alone in every other line of 80."""
    helps = {each.name: each.help or "" for each in commands_of(typer.main.get_command(app))}
    assert len(helps) > 1
    assert [name for name, text in helps.items() if re.search(r"[^\n]\n[^\n]", text)] == []


def test_the_help_of_the_page_says_so_too() -> None:
    shown = CliRunner().invoke(worklist_app, ["--help"])
    assert "NOT A MEDICAL DEVICE. NOT FOR DIAGNOSTIC USE." in shown.stdout
