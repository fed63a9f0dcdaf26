"""Instances on their way in: as the Storage SCP hands them on, or sent by a real SCU over a real association."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Iterable
from io import BytesIO

import pydicom
from pydicom.dataset import Dataset
from pynetdicom import AE

from dicom_io.data_sets.file_meta import encode_file_meta
from dicom_io.data_sets.header import parse_header
from dicom_io.storing.receiving import ReceivedInstance

CALLING_AE_TITLE = "MODALITY"


def encoded(dataset: Dataset) -> bytes:
    """Return the data set as it travels: no preamble, no file meta."""
    syntax = dataset.file_meta.TransferSyntaxUID
    buffer = BytesIO()
    bare = Dataset(dataset)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tests send invalid values on purpose
        pydicom.dcmwrite(buffer, bare, implicit_vr=syntax.is_implicit_VR, little_endian=syntax.is_little_endian)
    if not syntax.is_deflated:
        return buffer.getvalue()
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(buffer.getvalue()) + deflater.flush()


def received(dataset: Dataset, calling_ae_title: str = CALLING_AE_TITLE) -> ReceivedInstance:
    """Return the data set as the Storage SCP would hand it on."""
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    body = encoded(dataset)
    return ReceivedInstance(
        header=parse_header(body, syntax),
        study_instance_uid=str(dataset.StudyInstanceUID),
        series_instance_uid=str(dataset.SeriesInstanceUID),
        sop_instance_uid=str(dataset.SOPInstanceUID),
        sop_class_uid=str(dataset.SOPClassUID),
        transfer_syntax_uid=syntax,
        calling_ae_title=calling_ae_title,
        called_ae_title="CXRAI",
        peer_address="127.0.0.1",
        chunks=(
            encode_file_meta(str(dataset.SOPClassUID), str(dataset.SOPInstanceUID), syntax),
            body,
        ),
    )


def store(port: int, datasets: Iterable[Dataset], called_ae_title: str = "CXRAI") -> list[int | None]:
    """Send the data sets over one association and return the statuses; None where the peer died first."""
    chosen = list(datasets)
    ae = AE(CALLING_AE_TITLE)
    ae.dimse_timeout = ae.acse_timeout = ae.network_timeout = 20
    for dataset in chosen:
        ae.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    association = ae.associate("127.0.0.1", port, ae_title=called_ae_title)
    if not association.is_established:
        raise ConnectionError(f"no association with {called_ae_title} on port {port}")
    statuses: list[int | None] = []
    for dataset in chosen:
        answer = association.send_c_store(dataset) if association.is_established else Dataset()
        statuses.append(answer.Status if "Status" in answer else None)
    if association.is_established:
        association.release()
    return statuses
