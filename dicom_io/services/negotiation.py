"""Who may open an association and what it may carry: all storage classes and transfer syntaxes (PS3.7 D, PS3.8)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pydicom.uid import UID
from pynetdicom.pdu_primitives import SOPClassCommonExtendedNegotiation
from pynetdicom.presentation import PresentationContext
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.sop_class import uid_to_service_class

from dicom_io.associations.odd_negotiation import BLANK_TITLE
from dicom_io.data_sets import transfer_syntaxes
from dicom_io.services.storage_commitment import STORAGE_COMMITMENT
from dicom_io.storing.receiving import ScpSettings
from dicom_io.ups.service import UPS_CLASSES

VERIFICATION = "1.2.840.10008.1.1"
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
"""The only one there is (PS3.7 A.2.1)."""
_CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
_UNCOMPRESSED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
_PUBLIC_ROOT = "1.2.840.10008."
_STORAGE_ROOTS = (
    "1.2.840.10008.5.1.4.1.1.",
    "1.2.840.10008.5.1.1.27",
    "1.2.840.10008.5.1.1.29",
    "1.2.840.10008.5.1.1.30",
)
"""Standard storage classes, retired ones too (Stored Print, Hardcopy), and those yet to come."""


@dataclass(frozen=True)
class Rejection:
    """An A-ASSOCIATE-RJ (PS3.8 9.3.4) and the words for our log."""

    result: int
    source: int
    diagnostic: int
    reason: str


LIMIT_EXCEEDED = Rejection(2, 3, 2, "maximum_associations are open already")
"""Transient: the sender tries again."""
OTHER_APPLICATION = Rejection(1, 1, 2, "the application context is not that of DICOM")


def is_storage(abstract_syntax: str) -> bool:
    """Say whether we take objects of this SOP class: all storage classes and everything private."""
    if not abstract_syntax.startswith(_PUBLIC_ROOT) or abstract_syntax.startswith(_STORAGE_ROOTS):
        return True
    return bool(uid_to_service_class(abstract_syntax) is StorageServiceClass)


@dataclass(frozen=True)
class Granted:
    """What a caller may use beside Verification."""

    storage: bool = True
    commitment_answers: bool = False
    worklist: bool = False


def granted(settings: ScpSettings, calling_ae_title: str) -> Granted:
    """Return what the caller may use: sources send, archives answer for commitment, peers work off; some do it all."""
    return Granted(
        storage=calling_ae_title in settings.callers or settings.accept_unknown_callers,
        commitment_answers=calling_ae_title in settings.commitment_peers,
        worklist=calling_ae_title in settings.worklist_callers,
    )


def supported_contexts(
    proposed: Iterable[PresentationContext], grant: Granted | None = None
) -> list[PresentationContext]:
    """Return contexts that accept Verification and what is granted out of what was proposed.

    Of several transfer syntaxes the sender's first known one is taken: it is the one its object is stored in, so
    nothing is transcoded on the way. A private syntax is taken when nothing else is offered.
    """
    grant = grant or Granted()
    supported: dict[str, PresentationContext] = {}
    for context in proposed:
        abstract_syntax = str(context.abstract_syntax)
        worklist = abstract_syntax in UPS_CLASSES
        if not _is_granted(abstract_syntax, grant):
            continue
        supported.setdefault(abstract_syntax, PresentationContext())
        supported[abstract_syntax].abstract_syntax = UID(abstract_syntax)
        for transfer_syntax in sorted(context.transfer_syntax, key=_unknown):
            if not worklist or transfer_syntax in _UNCOMPRESSED:
                supported[abstract_syntax].add_transfer_syntax(transfer_syntax)
        if abstract_syntax == STORAGE_COMMITMENT:  # whoever calls has been asked and answers: the SCP of the service
            supported[abstract_syntax].scu_role, supported[abstract_syntax].scp_role = False, True
    return [context for context in supported.values() if context.transfer_syntax]


def _is_granted(abstract_syntax: str, grant: Granted) -> bool:
    if abstract_syntax == STORAGE_COMMITMENT:
        return grant.commitment_answers
    if abstract_syntax in UPS_CLASSES:
        return grant.worklist
    return abstract_syntax == VERIFICATION or (grant.storage and is_storage(abstract_syntax))


def storage_service_of_unknown_classes(
    proposed: Iterable[PresentationContext],
) -> dict[UID, SOPClassCommonExtendedNegotiation]:
    """Map storage classes pynetdicom does not know to the storage service, so that their C-STOREs reach us."""
    items = {}
    for context in proposed:
        abstract_syntax = UID(str(context.abstract_syntax))
        if is_storage(abstract_syntax) and uid_to_service_class(abstract_syntax) is not StorageServiceClass:
            item = SOPClassCommonExtendedNegotiation()
            item.sop_class_uid = abstract_syntax
            item.service_class_uid = UID(_CT_IMAGE_STORAGE)  # pynetdicom looks the service up under a class it knows
            items[abstract_syntax] = item
    return items


def rejection(
    settings: ScpSettings, calling_ae_title: str, called_ae_title: str, peer_address: str, accepting: bool
) -> Rejection | None:
    """Return why an association must be rejected, or None."""
    if calling_ae_title == BLANK_TITLE:  # of an unknown caller, too: it would be kept as who has sent
        return Rejection(1, 1, 3, "calling AE title is blank")
    if called_ae_title != settings.ae_title:
        return Rejection(1, 1, 7, f"called AE title is not {settings.ae_title}")
    lists = [
        hosts[calling_ae_title] for hosts in (settings.callers, settings.worklist_callers) if calling_ae_title in hosts
    ]
    if not lists and not settings.accept_unknown_callers and calling_ae_title not in settings.commitment_peers:
        return Rejection(1, 1, 3, "calling AE title is not configured as a source")
    if any(hosts and peer_address not in hosts for hosts in lists):
        return Rejection(1, 1, 3, "calling AE title may not call from this address")
    if not accepting:
        return Rejection(2, 3, 1, "instances cannot be stored now")
    return None


def _unknown(transfer_syntax: UID) -> bool:
    return transfer_syntax not in transfer_syntaxes.KNOWN
