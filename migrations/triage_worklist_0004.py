"""The columns of the view ``triage_worklist`` since revision 0004, which counts no HL7 message as a result."""

from __future__ import annotations

from migrations.triage_worklist import COLUMNS as FIRST_COLUMNS

COLUMNS = {
    **FIRST_COLUMNS,
    "delivery_state": (
        FIRST_COLUMNS["delivery_state"][0],
        "worst state of the current results on their way to the PACS, and of the HL7 messages about them: failed,"
        " refused, pending, sent or committed; null = nothing to deliver",
    ),
    "results": (
        "(SELECT COUNT(*) FROM result x WHERE x.run_id = s.current_run_id AND x.kind <> 'hl7_message')",
        "number of DICOM objects of the current run",
    ),
}
