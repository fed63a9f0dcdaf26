"""The view ``triage_worklist`` as revision 0001 makes it: what an administrator queries first, one row per study.

A later revision that changes the view replaces it whole (drop, create) and leaves this text alone.
"""

from __future__ import annotations

from collections.abc import Mapping

COLUMNS: dict[str, tuple[str, str]] = {
    "list_order": (
        """CASE WHEN s.lifted_at IS NOT NULL AND s.read_at IS NULL
                     AND s.state IN ('triaged', 'queued', 'triaging', 'receiving') THEN 0
                WHEN s.priority = 'STAT' THEN 1 WHEN s.priority = 'URGENT' THEN 2 WHEN s.priority = 'ROUTINE' THEN 3
                WHEN s.state IN ('failed', 'held', 'not_analysed') THEN 4
                WHEN s.state = 'out_of_scope' THEN 6 ELSE 5 END""",
        "reading order, smallest first: 0 unread past the upper wait limit, 1 STAT, 2 URGENT, 3 ROUTINE, 4 needs a"
        " person (failed, held, not analysed), 5 still being received or waiting for analysis, 6 out of scope",
    ),
    "priority": ("s.priority", "STAT, URGENT or ROUTINE; null = never analysed, which does not mean nothing found"),
    "priority_rank": (
        "s.priority_rank",
        "0 to 1, larger first within one priority: by the most urgent flagged finding's tier, then its weight times its"
        " probability; 0 = nothing flagged",
    ),
    "priority_reason": ("s.priority_reason", "why this priority, one sentence"),
    "findings": (
        "{findings}",
        "flagged findings of the current run with their highest probability in percent, such as Pneumothorax 93%",
    ),
    "state": (
        "s.state",
        "receiving, queued, triaging, triaged, out_of_scope, not_analysed, held or failed; only triaged has an answer",
    ),
    "reason_code": ("s.reason_code", "machine-readable cause of out_of_scope, not_analysed, held or failed"),
    "reason": ("s.reason", "the same cause as a sentence"),
    "delivery_state": (
        """(SELECT CASE MIN(CASE d.state WHEN 'failed' THEN 1 WHEN 'refused' THEN 2 WHEN 'pending' THEN 3
                                         WHEN 'sent' THEN 4 WHEN 'committed' THEN 5 ELSE 9 END)
                   WHEN 1 THEN 'failed' WHEN 2 THEN 'refused' WHEN 3 THEN 'pending'
                   WHEN 4 THEN 'sent' WHEN 5 THEN 'committed' END
              FROM delivery d JOIN result x ON x.id = d.result_id WHERE x.run_id = s.current_run_id)""",
        "worst state of the current results on their way to the PACS: failed, refused, pending, sent or committed;"
        " null = nothing to deliver",
    ),
    "results": (
        "(SELECT COUNT(*) FROM result x WHERE x.run_id = s.current_run_id)",
        "number of DICOM objects of the current run",
    ),
    "historical": ("s.historical", "true = old study: analysed, never flagged or announced"),
    "lifted_at": ("s.lifted_at", "UTC; when it passed the upper wait limit unread"),
    "flagged_at": ("s.flagged_at", "UTC; when it first got STAT or URGENT"),
    "first_received_at": ("s.first_received_at", "UTC; first image stored"),
    "last_received_at": ("s.last_received_at", "UTC; latest image stored"),
    "triaged_at": ("r.finished_at", "UTC; end of the current run"),
    "read_at": ("s.read_at", "UTC; when a radiologist marked it read, null = unread"),
    "read_by": ("s.read_by", "who marked it read"),
    "study_instance_uid": ("s.study_instance_uid", "DICOM Study Instance UID (0020,000D)"),
    "accession_number": ("s.accession_number", "as received (0008,0050)"),
    "patient_id": ("s.patient_id", "as received (0010,0020)"),
    "patient_id_missing": ("s.patient_id_missing", "true = the Patient ID arrived empty"),
    "patient_name": ("s.patient_name", "as received (0010,0010)"),
    "patient_birth_date": ("s.patient_birth_date", "as received, YYYYMMDD (0010,0030)"),
    "patient_sex": ("s.patient_sex", "as received (0010,0040)"),
    "study_date": ("s.study_date", "as received, YYYYMMDD (0008,0020)"),
    "study_description": ("s.study_description", "as received (0008,1030)"),
    "order_priority": ("s.order_priority", "Requested Procedure Priority as received (0040,1003)"),
    "calling_ae_title": ("s.calling_ae_title", "AE title of the sender"),
    "instances": (
        "(SELECT COUNT(*) FROM instance i WHERE i.study_instance_uid = s.study_instance_uid AND i.current)",
        "number of current instances stored, ignored ones included",
    ),
    "run_number": ("r.run_number", "number of the current run within the study, from 1"),
    "run_trigger": ("r.trigger", "auto, late_image, manual or reprocess"),
    "bundle": ("r.bundle", "configured name of the model bundle"),
    "model_version": (
        "r.model_version",
        "version of the model, with hashes of its weights and of what else decides a probability (input, calibration)",
    ),
}

FINDINGS = """(SELECT {join} FROM (
                 SELECT p.finding || ' ' || CAST(ROUND(MAX(p.probability) * 100) AS INTEGER) || '%' AS line,
                        MAX(p.probability) AS top
                   FROM prediction p WHERE p.run_id = s.current_run_id AND p.flagged GROUP BY p.finding
                  ORDER BY top DESC, p.finding) f)"""
JOIN = {"postgresql": "string_agg(f.line, ', ' ORDER BY f.top DESC, f.line)", "sqlite": "group_concat(f.line, ', ')"}


def create_triage_worklist(columns_of: Mapping[str, tuple[str, str]] = COLUMNS) -> None:
    """Create the view; PostgreSQL also keeps the meaning of each column as a comment.

    Parameters
    ----------
    columns_of
        Name -> (SQL, meaning); a later revision gives its own.
    """
    from alembic import op  # here, because the page reads the columns above and migrates nothing

    dialect = op.get_bind().dialect.name
    findings = FINDINGS.format(join=JOIN[dialect])
    escape = "%%" if dialect == "postgresql" else "%"
    columns = ",\n  ".join(f"{sql.replace('{findings}', findings)} AS {name}" for name, (sql, _) in columns_of.items())
    source = "study s LEFT JOIN run r ON r.id = s.current_run_id"
    statement = f"CREATE VIEW triage_worklist AS\nSELECT\n  {columns}\nFROM {source}"
    op.get_bind().exec_driver_sql(statement.replace("%", escape))
    if dialect == "postgresql":
        for name, (_, meaning) in columns_of.items():
            quoted = meaning.replace("'", "''").replace("%", "%%")
            op.get_bind().exec_driver_sql(f"COMMENT ON COLUMN triage_worklist.{name} IS '{quoted}'")


def drop_triage_worklist() -> None:
    """Drop the view."""
    from alembic import op

    op.get_bind().exec_driver_sql("DROP VIEW triage_worklist")
