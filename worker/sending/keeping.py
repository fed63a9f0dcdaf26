"""Which associations to destinations stay open between two deliveries of a process, and for which kinds of object."""

from __future__ import annotations

from pydicom.uid import (
    ExplicitVRLittleEndian,
    GrayscaleSoftcopyPresentationStateStorage,
    SecondaryCaptureImageStorage,
)

from dicom_io.associations.keeper import AssociationKeeper, Keeping
from dicom_io.associations.kept_association import Kind
from dicom_io.data_sets.rejection_title import KEY_OBJECT_SELECTION
from dicom_io.results.report_class import REPORT_CLASSES
from worker.rows.states import ResultKind
from worker.sending.shipment import ships
from worker.settings.peers import Destination


def keeping_for(destination: Destination, keeper: AssociationKeeper | None) -> Keeping | None:
    """Return how the destination's association is kept, None where each delivery has its own.

    It is not kept where a delivery opens associations of other kinds (C-FIND, storage commitment) as well: an archive
    with one place for us would have none for those.
    """
    others = destination.storage_commitment or destination.refresh_identity
    if keeper is None or others or not destination.keep_open_seconds:
        return None
    return Keeping(keeper, destination.keep_open_seconds, kinds_for(destination))


def kinds_for(destination: Destination) -> frozenset[Kind]:
    """Return every kind of object that the destination may be sent."""
    classes = {*REPORT_CLASSES, KEY_OBJECT_SELECTION}
    if ships(destination, ResultKind.SECONDARY_CAPTURE) or ships(destination, ResultKind.SUMMARY_CAPTURE):
        classes.add(str(SecondaryCaptureImageStorage))
    if ships(destination, ResultKind.PRESENTATION_STATE):
        classes.add(str(GrayscaleSoftcopyPresentationStateStorage))
    return frozenset((sop_class_uid, str(ExplicitVRLittleEndian)) for sop_class_uid in classes)
