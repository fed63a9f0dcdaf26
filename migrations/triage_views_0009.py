"""The views an administrator queries, since revision 0009: per study, per finding, and per stage of a run.

What differs between SQLite and PostgreSQL (time arithmetic, JSON, truth values) is settled here, so that one query
reads the same on both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from migrations.triage_worklist import FINDINGS, JOIN
from migrations.triage_worklist_0005 import COLUMNS as EARLIER_COLUMNS

DIALECTS: Mapping[str, Mapping[str, str]] = {
    "postgresql": {
        "seconds": "CAST(EXTRACT(EPOCH FROM ({later} - {earlier})) AS DOUBLE PRECISION)",
        "now": "now()",
        "day": "CAST({time} AT TIME ZONE 'UTC' AS DATE)",
        "any": "bool_or({flag})",
        "stages": "json_each_text(r.timings_seconds) AS t(stage, value)",
        "stage": "t.stage",
        "value": "CAST(t.value AS DOUBLE PRECISION)",
    },
    "sqlite": {
        "seconds": "((julianday({later}) - julianday({earlier})) * 86400.0)",
        "now": "'now'",
        "day": "date({time})",
        "any": "MAX({flag})",
        "stages": "json_each(r.timings_seconds) AS t",
        "stage": "t.key",
        "value": "CAST(t.value AS REAL)",
    },
}
_ON = "UTC day of the first image, YYYY-MM-DD"
_AGO = "hours since the first image was stored, with decimals; smaller than 168 = within the last week"
_STATION = "Station Name of the device as received (0008,1010); empty = not stated"
_AE = "AE title of the sender"
_UID = "DICOM Study Instance UID (0020,000D)"


@dataclass(frozen=True)
class View:
    """One view: column -> (SQL, meaning), and what it reads from."""

    name: str
    columns: Mapping[str, tuple[str, str]]
    source: str


def _worklist_columns() -> dict[str, tuple[str, str]]:
    columns: dict[str, tuple[str, str]] = {}
    for name, column in EARLIER_COLUMNS.items():
        columns[name] = column
        if name == "read_by":
            columns["received_on"] = ("{received_on}", _ON)
            columns["received_hours_ago"] = ("{received_hours_ago}", _AGO)
            columns["seconds_to_triage"] = (
                "CASE WHEN r.finished_at >= s.last_received_at THEN {seconds_to_triage} END",
                "seconds from the latest image to the end of the current run; null = no answer, or images came since",
            )
            columns["seconds_to_read"] = (
                "{seconds_to_read}",
                "seconds from the first image to the read mark; null = unread",
            )
        if name == "calling_ae_title":
            columns["station_name"] = ("s.station_name", _STATION)
    return columns


WORKLIST = View("triage_worklist", _worklist_columns(), "study s LEFT JOIN run r ON r.id = s.current_run_id")
FINDING = View(
    "triage_finding",
    {
        "study_instance_uid": ("s.study_instance_uid", _UID),
        "finding": ("p.finding", "one of the 14 labels, such as Pneumothorax or Pleural_Thickening"),
        "probability": (
            "MAX(p.probability)",
            "0 to 1, the highest over the study's images; null = the model does not know this finding, never 0",
        ),
        "threshold": ("MAX(p.threshold)", "0 to 1, at or above it is flagged; null = never flagged"),
        "flagged": ("{flagged}", "true = at or above the threshold in an image, and the study is not historical"),
        "priority": ("s.priority", "of the study: STAT, URGENT or ROUTINE"),
        "received_on": ("{received_on}", _ON),
        "received_hours_ago": ("{received_hours_ago}", _AGO),
        "calling_ae_title": ("s.calling_ae_title", _AE),
        "station_name": ("s.station_name", _STATION),
        "model_version": ("r.model_version", "version of the model that said so"),
    },
    "study s JOIN run r ON r.id = s.current_run_id JOIN prediction p ON p.run_id = r.id"
    "\nGROUP BY s.study_instance_uid, r.id, p.finding",
)
STAGE = View(
    "triage_stage",
    {
        "study_instance_uid": ("r.study_instance_uid", _UID),
        "run_number": ("r.run_number", "number of the run within the study, from 1"),
        "stage": (
            "{stage}",
            "load (the model, in a process's first run with it), read, suitability, preprocess, classify, saliency, "
            "results, or total for all of the run",
        ),
        "seconds": ("{value}", "wall-clock seconds spent in it"),
        "outcome": ("r.outcome", "triaged, not_analysed, out_of_scope or unchanged"),
        "finished_at": ("r.finished_at", "UTC; end of the run"),
        "finished_hours_ago": ("{finished_hours_ago}", "hours since then, with decimals"),
        "worker_name": ("r.worker_name", "host and process that ran it"),
        "model_version": ("r.model_version", "version of the model"),
        "shadow": ("r.shadow", "true = a run in the shadow, whose word does not count"),
    },
    "run r JOIN {stages} ON r.finished_at IS NOT NULL",
)
VIEWS = (WORKLIST, FINDING, STAGE)


def create_views(views: tuple[View, ...] = VIEWS) -> None:
    """Create the views in this order; PostgreSQL also keeps the meaning of each column as a comment."""
    from alembic import op  # here, because the page and the lists read the columns above and migrate nothing

    for view in views:
        _create(view, op.get_bind())


def drop_views(views: tuple[View, ...] = VIEWS) -> None:
    """Drop them in the opposite order."""
    from alembic import op

    for view in reversed(views):
        op.get_bind().exec_driver_sql(f"DROP VIEW {view.name}")


def _create(view: View, connection: Connection) -> None:
    dialect = connection.dialect.name
    words = _expressions(dialect)
    columns = ",\n  ".join(f"{_filled(sql, words)} AS {name}" for name, (sql, _) in view.columns.items())
    statement = f"CREATE VIEW {view.name} AS\nSELECT\n  {columns}\nFROM {_filled(view.source, words)}"
    connection.exec_driver_sql(statement.replace("%", "%%" if dialect == "postgresql" else "%"))
    comment_on(view, connection)


def comment_on(view: View, connection: Connection) -> None:
    """Write the meaning of each column into the database, where that is PostgreSQL."""
    if connection.dialect.name != "postgresql":
        return
    for name, (_, meaning) in view.columns.items():
        quoted = meaning.replace("'", "''").replace("%", "%%")
        connection.exec_driver_sql(f"COMMENT ON COLUMN {view.name}.{name} IS '{quoted}'")


def _expressions(dialect: str) -> dict[str, str]:
    """Return the SQL of every word in braces."""
    words = DIALECTS[dialect]

    def seconds(later: str, earlier: str) -> str:
        return words["seconds"].format(later=later, earlier=earlier)

    return {
        "findings": FINDINGS.format(join=JOIN[dialect]),
        "join": JOIN[dialect],
        "received_on": words["day"].format(time="s.first_received_at"),
        "received_hours_ago": f"{seconds(words['now'], 's.first_received_at')} / 3600.0",
        "finished_hours_ago": f"{seconds(words['now'], 'r.finished_at')} / 3600.0",
        "seconds_to_triage": seconds("r.finished_at", "s.last_received_at"),
        "seconds_to_read": seconds("s.read_at", "s.first_received_at"),
        "flagged": words["any"].format(flag="p.flagged"),
        "stages": words["stages"],
        "stage": words["stage"],
        "value": words["value"],
    }


def _filled(sql: str, words: Mapping[str, str]) -> str:
    for name, expression in words.items():
        sql = sql.replace(f"{{{name}}}", expression)
    return sql
