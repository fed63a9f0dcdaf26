"""The view ``triage_worklist`` since revision 0005: what was taken back, and who set a priority by hand."""

from __future__ import annotations

from migrations.triage_worklist_0004 import COLUMNS as EARLIER_COLUMNS

_LEFT = """(SELECT COUNT(*) FROM delivery d JOIN result x ON x.id = d.result_id JOIN run q ON q.id = x.run_id
             WHERE q.study_instance_uid = s.study_instance_uid AND d.state = 'rejected'
               AND NOT EXISTS (SELECT 1 FROM delivery e JOIN result n ON n.id = e.result_id
                                WHERE n.sop_instance_uid = d.rejection_note_uid AND e.destination = d.destination
                                  AND e.state IN ('sent', 'committed')))"""


def _columns() -> dict[str, tuple[str, str]]:
    columns: dict[str, tuple[str, str]] = {}
    for name, column in EARLIER_COLUMNS.items():
        columns[name] = column
        if name == "priority_reason":
            columns["priority_set_by"] = ("s.priority_set_by", "person who set the priority; null = the model did")
        if name == "results":
            columns["results"] = (
                "(SELECT COUNT(*) FROM result x WHERE x.run_id = s.current_run_id"
                " AND x.kind NOT IN ('hl7_message', 'rejection_note'))",
                column[1],
            )
            columns["leftovers"] = (
                _LEFT,
                "objects that no longer hold and that their archive has not been told of yet; 0 = nothing left behind",
            )
            columns["retracted_at"] = ("s.retracted_at", "UTC; when a person took the results back, null = never")
    return columns


COLUMNS = _columns()
