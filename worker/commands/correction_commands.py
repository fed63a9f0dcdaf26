"""Commands with which a person overrules the machine, and forgets a patient."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from worker.care.forgetting import forget_patient
from worker.care.grounds import Grounds
from worker.care.identity_correction import Identity, correct_study
from worker.care.image_rejection import reject_by_hand
from worker.care.priority_override import override_priority
from worker.care.retraction import retract_study
from worker.commands.at_hand import opened, print_json, resolve_study, say
from worker.commands.doorbell import ring
from worker.commands.options import ConfigOption, JsonOption, StudyArgument, person
from worker.rows.states import Priority
from worker.settings.config import load_settings
from worker.views.studies import as_json

ReasonOption = Annotated[
    str,
    typer.Option("--reason", metavar="TEXT", help="Why, in a sentence for the audit trail; no patient data."),
]
ByOption = Annotated[
    str, typer.Option("--by", metavar="NAME", help="Who decides this. Default: the operating system's user.")
]


def retract(
    study: StudyArgument,
    reason: ReasonOption,
    by: ByOption = "",
    because: Annotated[
        Grounds, typer.Option("--because", help="What the rejection notes to archives say.")
    ] = Grounds.PATIENT_SAFETY,
    json_output: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Take a study's results back: it stands as not analysed, and nothing of it stays in force anywhere.

    Every archive that has results gets a rejection note (IHE IOCM), every HL7 receiver that was told a withdrawal, a
    workitem is canceled. Images that come later are stored and not analysed; `requeue` analyses the study again.
    """
    settings = load_settings(config)
    with opened(settings, read_only=False) as session:
        uid = resolve_study(session, study)
        retracted = retract_study(
            session, uid, reason=reason, by=by or person(), settings=settings, title=because.note_title
        )
    ring(settings, uid, "", deliveries=retracted.taken_back.anybody)
    _say(retracted, retracted.summary, json_output)


def correct(
    study: StudyArgument,
    reason: ReasonOption,
    by: ByOption = "",
    patient_id: Annotated[str | None, typer.Option("--patient-id", metavar="ID", help="The right Patient ID.")] = None,
    issuer: Annotated[str | None, typer.Option("--issuer", metavar="NAME", help="Issuer of the Patient ID.")] = None,
    patient_name: Annotated[
        str | None, typer.Option("--patient-name", metavar="FAMILY^GIVEN", help="The right name, as DICOM writes it.")
    ] = None,
    birth_date: Annotated[
        str | None, typer.Option("--birth-date", metavar="YYYYMMDD", help="The right birth date.")
    ] = None,
    sex: Annotated[str | None, typer.Option("--sex", metavar="M|F|O", help="The right sex.")] = None,
    accession_number: Annotated[
        str | None, typer.Option("--accession-number", metavar="NUMBER", help="Of the order it really answers.")
    ] = None,
    json_output: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Correct whose study it is or which order it answers, and issue its results again without a new analysis.

    Archives get a rejection note for what they have, HL7 receivers a withdrawal where another patient or order was
    named. Stored images are not touched; what is not named stays as it is.
    """
    settings = load_settings(config)
    identity = Identity(patient_id, issuer, patient_name, birth_date, sex, accession_number)
    with opened(settings, read_only=False) as session:
        uid = resolve_study(session, study)
        corrected = correct_study(session, uid, identity, reason=reason, by=by or person(), settings=settings)
    ring(settings, uid, "", deliveries=corrected.taken_back.anybody)
    _say(corrected, corrected.summary, json_output)


def override(
    study: StudyArgument,
    priority: Annotated[Priority, typer.Option("--priority", help="What it is to be, higher or lower.")],
    reason: ReasonOption,
    by: ByOption = "",
    json_output: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Set the priority of an analysed study in a person's name; the machine on its own only raises it.

    What was flagged until now does not raise it again; a finding that is new does. A workitem follows, HL7 receivers
    are not told.
    """
    with opened(load_settings(config), read_only=False) as session:
        uid = resolve_study(session, study)
        overridden = override_priority(session, uid, priority, reason=reason, by=by or person())
    _say(overridden, overridden.summary, json_output)


def reject(
    study: StudyArgument,
    image: Annotated[list[str], typer.Option("--image", metavar="UID", help="SOP Instance UID; may be repeated.")],
    reason: ReasonOption,
    by: ByOption = "",
    because: Annotated[
        Grounds, typer.Option("--because", help="What the rejection notes to archives say.")
    ] = Grounds.QUALITY,
    json_output: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Declare images of a study invalid, as a rejection note from the archive does: they are never analysed again.

    Results made from them are taken back; what is left of the study is analysed again. The archive is told of our
    results alone; reject the images there.
    """
    settings = load_settings(config)
    with opened(settings, read_only=False) as session:
        uid = resolve_study(session, study)
        run = reject_by_hand(
            session, uid, image, title=because.note_title, reason=reason, by=by or person(), settings=settings
        )
    ring(settings, uid, run.queue if run else "", deliveries=True)
    what = f"run {run.run_number} looks at what is left" if run else "nothing is left to analyse"
    outcome = {"study_instance_uid": uid, "images": sorted(image), "run_number": run.run_number if run else None}
    _say(outcome, f"study {uid}: {len(image)} images are rejected; {what}", json_output)


def forget(
    patient_id: Annotated[str, typer.Argument(metavar="PATIENT-ID", help="As received or as corrected, exactly.")],
    reason: ReasonOption,
    by: ByOption = "",
    issuer: Annotated[
        str | None, typer.Option("--issuer", metavar="NAME", help="Issuer of the Patient ID, where several are known.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before deleting.")] = False,
    json_output: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Delete everything kept of a patient here: images, results, rows, message texts, audit trail; it cannot be undone.

    Studies that are still received, analysed or sent are refused. Archives, receivers of messages and backups keep what
    they have: `retract` the studies first where results are to be taken back.
    """
    settings = load_settings(config)
    if not yes:
        typer.confirm("Delete everything kept of this patient? It cannot be undone.", abort=True, err=True)
    with opened(settings, read_only=False) as session:
        forgotten = forget_patient(session, patient_id, issuer, reason=reason, by=by or person(), settings=settings)
    _say(forgotten, forgotten.summary, json_output)


def _say(outcome: Any, summary: str, json_output: bool) -> None:
    if json_output:
        print_json(as_json(outcome))
    else:
        say(summary)
