"""All commands: where each is, to be loaded only when it is chosen.

Most of them import most of the worker. A listener that was killed must be back within seconds and needs none of it.
"""

from __future__ import annotations

from typing import ClassVar

from model.deferred_commands import DeferredGroup, Place

_PROCESSES, _TOOLS = "Processes", "Setting up and trying out"
_STUDIES, _PERSON, _MODEL = "Studies", "A person decides", "Model"


class CommandTable(DeferredGroup):
    """Every command of ``python -m worker``."""

    places: ClassVar = {
        "up": Place("worker.commands.process_commands", "up", _PROCESSES),
        "listen": Place("worker.commands.process_commands", "listen", _PROCESSES),
        "work": Place("worker.commands.process_commands", "work", _PROCESSES),
        "sweep": Place("worker.commands.process_commands", "sweep", _PROCESSES),
        "hl7": Place("worker.commands.process_commands", "hl7", _PROCESSES),
        "shadow": Place("worker.commands.process_commands", "shadow", _PROCESSES),
        "migrate": Place("worker.commands.setting_up_commands", "migrate", _TOOLS),
        "check": Place("worker.commands.setting_up_commands", "check", _TOOLS),
        "send": Place("worker.commands.setting_up_commands", "send", _TOOLS),
        "demo": Place("worker.commands.setting_up_commands", "demo", _TOOLS),
        "studies": Place("worker.commands.study_commands", "studies", _STUDIES),
        "show": Place("worker.commands.study_commands", "show", _STUDIES),
        "requeue": Place("worker.commands.study_commands", "requeue", _STUDIES),
        "resend": Place("worker.commands.study_commands", "resend", _STUDIES),
        "release": Place("worker.commands.study_commands", "release", _STUDIES),
        "retract": Place("worker.commands.correction_commands", "retract", _PERSON),
        "correct": Place("worker.commands.correction_commands", "correct", _PERSON),
        "override": Place("worker.commands.correction_commands", "override", _PERSON),
        "reject": Place("worker.commands.correction_commands", "reject", _PERSON),
        "forget": Place("worker.commands.correction_commands", "forget", _PERSON),
        "explain": Place("worker.commands.explain_command", "explain_images", _STUDIES),
        "export": Place("worker.commands.export_command", "export", _STUDIES),
        "messages": Place("worker.commands.message_commands", "messages", _STUDIES),
        "reconcile": Place("worker.commands.reconcile_command", "reconcile", _STUDIES),
        "reprocess": Place("worker.commands.reprocess_command", "reprocess", _STUDIES),
        "list": Place("worker.commands.list_command", "list_rows", _STUDIES),
        "status": Place("worker.commands.status_command", "status", _STUDIES),
        "certs": Place("worker.commands.certificate_command", "make_certificates", _TOOLS),
        "backup": Place("worker.commands.backup_commands", "backup", _TOOLS),
        "restore": Place("worker.commands.backup_commands", "restore", _TOOLS),
        "verify": Place("worker.commands.backup_commands", "verify", _TOOLS),
        "token": Place(
            "worker.commands.token_commands",
            "tokens",
            _TOOLS,
            help="Tokens with which programs read the admin API; they can write nothing.",
        ),
        "promote": Place("worker.commands.promotion_commands", "promote_bundle", _MODEL),
        "rollback": Place("worker.commands.promotion_commands", "roll_back", _MODEL),
        "compare": Place("worker.commands.promotion_commands", "compare", _MODEL),
    }
