"""The view ``triage_worklist`` since revision 0027: its percentages say what the page and the pictures say."""

from __future__ import annotations

from dataclasses import replace

from migrations.triage_views_0009 import WORKLIST as EARLIER_WORKLIST

_FINDINGS = """(SELECT {join} FROM (
                 SELECT g.finding || ' ' || CASE WHEN g.whole >= 100 THEN '> 99' WHEN g.whole < 1 THEN '< 1'
                          ELSE CAST(g.whole AS VARCHAR(3)) END || '%' AS line, g.top
                   FROM (SELECT p.finding, MAX(p.probability) AS top,
                                CAST(ROUND(MAX(p.probability) * 100) AS INTEGER) AS whole
                           FROM prediction p WHERE p.run_id = s.current_run_id AND p.flagged GROUP BY p.finding) g
                  ORDER BY g.top DESC, g.finding) f)"""
_MEANING = (
    "flagged findings of the current run with their highest probability in percent, such as Pneumothorax 93%; "
    "> 99% and < 1% at the ends, for no model is sure"
)
WORKLIST = replace(EARLIER_WORKLIST, columns={**EARLIER_WORKLIST.columns, "findings": (_FINDINGS, _MEANING)})
