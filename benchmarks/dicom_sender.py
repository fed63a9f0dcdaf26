"""A sender that costs next to nothing: whole C-STORE requests encoded beforehand, pushed by ``sendfile``.

What is timed is the receiver. The requests lie in a file in memory; before every window they get fresh UIDs of the same
length, because a receiver that knows an object already has less to do.
"""

from __future__ import annotations

import hashlib
import os
import socket
import struct
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian
from pynetdicom import AE, build_context
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu import A_ASSOCIATE_RQ, P_DATA_TF
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)

DX = "1.2.840.10008.5.1.4.1.1.1.1"
CALLING_AE_TITLE = "MODALITY"
_ROOT = "1.2.826.0.1.3680043.8.498."
_UID_CHARACTERS = 60
_CONTEXT_ID = 1
_RELEASE_RQ = b"\x05\x00\x00\x00\x00\x04\x00\x00\x00\x00"
_P_DATA, _ASSOCIATE_AC, _RELEASE_RP = 4, 2, 6
_SUCCESS = struct.pack("<HHIH", 0x0000, 0x0900, 2, 0)
"""The Status element of a response, as it is encoded (PS3.7 E.1)."""
ANSWER_SECONDS = 60.0


class NotStoredError(Exception):
    """The receiver did not answer success; the measurement means nothing."""


@dataclass(frozen=True)
class Shape:
    """One kind of object."""

    rows: int
    columns: int

    @property
    def megabytes(self) -> float:
        """Pixel data, 16 bits a pixel, in 10^6 bytes."""
        return self.rows * self.columns * 2 / 1e6


def fresh_uid(serial: int) -> str:
    """Return a UID of constant length."""
    digits = hashlib.sha256(f"{os.getpid()} {serial}".encode()).digest()
    return _ROOT + "1" + f"{int.from_bytes(digits):0120d}"[-(_UID_CHARACTERS - len(_ROOT) - 1) :]


def radiograph(shape: Shape, study: str, instance: str) -> Dataset:
    """Return a DX image of noise with the tags of a frontal chest radiograph."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = UID(DX), UID(instance)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = UID(study), UID(study[:-2] + ".1")
    dataset.StudyDate, dataset.StudyTime, dataset.Modality = "20260101", "120000", "DX"
    dataset.PatientID, dataset.PatientName, dataset.PatientBirthDate = "BENCH-1", "Bench^Mark", "19600101"
    dataset.BodyPartExamined, dataset.ViewPosition = "CHEST", "PA"
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = shape.rows, shape.columns, 1
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.PhotometricInterpretation = "MONOCHROME2"
    pixels = np.random.default_rng(shape.rows).integers(0, 4096, (shape.rows, shape.columns), dtype=np.uint16)
    dataset.PixelData = pixels.tobytes()
    return dataset


@dataclass
class Request:
    """One C-STORE request as it goes over the wire, in a file in memory."""

    descriptor: int
    bytes: int
    data_set: bytearray
    data_set_places: dict[str, list[int]]
    wire_places: dict[str, list[int]]
    study: str
    instance: str

    @property
    def data_set_sha256(self) -> str:
        """Return what the stored object must have behind its file meta information."""
        return hashlib.sha256(self.data_set).hexdigest()

    @property
    def wire_sha256(self) -> str:
        """Return the hash of the bytes on the wire, which is what a receiver keeps that speaks no DICOM."""
        return hashlib.sha256(os.pread(self.descriptor, self.bytes, 0)).hexdigest()

    def rename(self, study: str, instance: str) -> None:
        """Give the object other UIDs."""
        for old, new in ((self.study, study), (self.instance, instance)):
            for place in self.wire_places[old]:
                os.pwrite(self.descriptor, new.encode(), place)
            for place in self.data_set_places[old]:
                self.data_set[place : place + len(new)] = new.encode()
            self.wire_places[new] = self.wire_places.pop(old)
            self.data_set_places[new] = self.data_set_places.pop(old)
        self.study, self.instance = study, instance

    def write_file(self, path: Path) -> None:
        """Write the object as a DICOM file, for senders that read files."""
        pydicom.dcmread(BytesIO(self.data_set), force=True).save_as(
            path, implicit_vr=False, little_endian=True, enforce_file_format=False
        )


def encode_request(shape: Shape, pdu_bytes: int, serial: int) -> Request:
    """Encode one request in P-DATA-TF PDUs of at most `pdu_bytes`."""
    study, instance = fresh_uid(2 * serial), fresh_uid(2 * serial + 1)
    dataset = radiograph(shape, study, instance)
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, Dataset(dataset), implicit_vr=False, little_endian=True)
    primitive = C_STORE()
    primitive.MessageID, primitive.Priority = 1, 2
    primitive.AffectedSOPClassUID, primitive.AffectedSOPInstanceUID = UID(DX), UID(instance)
    primitive.DataSet = buffer
    message = C_STORE_RQ()
    message.primitive_to_message(primitive)
    wire = bytearray()
    for fragment in message.encode_msg(_CONTEXT_ID, pdu_bytes):
        pdu = P_DATA_TF()
        pdu.from_primitive(fragment)
        wire += pdu.encode()
    descriptor = os.memfd_create("request")
    os.write(descriptor, wire)
    data_set = bytearray(buffer.getvalue())
    return Request(
        descriptor,
        len(wire),
        data_set,
        {uid: _places(data_set, uid) for uid in (study, instance)},
        {uid: _places(wire, uid) for uid in (study, instance)},
        study,
        instance,
    )


def _places(content: bytearray, uid: str) -> list[int]:
    found, start = [], content.find(uid.encode())
    while start >= 0:
        found.append(start)
        start = content.find(uid.encode(), start + 1)
    return found


def association_request(called_ae_title: str, pdu_bytes: int) -> bytes:
    """Return an A-ASSOCIATE-RQ for one presentation context."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = UID("1.2.840.10008.3.1.1.1")
    primitive.calling_ae_title, primitive.called_ae_title = CALLING_AE_TITLE, called_ae_title
    context = build_context(DX, ExplicitVRLittleEndian)
    context.context_id = _CONTEXT_ID
    primitive.presentation_context_definition_list = [context]
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received = pdu_bytes
    implementation.implementation_class_uid = AE().implementation_class_uid
    primitive.user_information = [length, implementation]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(primitive)
    return bytes(pdu.encode())


def send_over_one_association(address: tuple[str, int], called_ae_title: str, requests: list[Request]) -> None:
    """Open, store everything, release.

    Raises
    ------
    NotStoredError
        The association or an object was not accepted.
    """
    with socket.create_connection(address, ANSWER_SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(association_request(called_ae_title, 16384))
        if _answer(connection)[0] != _ASSOCIATE_AC:
            raise NotStoredError(f"{called_ae_title} at {address} rejected the association")
        for request in requests:
            push(connection, request)
            kind, body = _answer(connection)
            if kind != _P_DATA or _SUCCESS not in body:
                raise NotStoredError(f"{called_ae_title} at {address} did not store an object")
        connection.sendall(_RELEASE_RQ)
        if _answer(connection)[0] != _RELEASE_RP:
            raise NotStoredError(f"{called_ae_title} at {address} did not release the association")


def push(connection: socket.socket, request: Request) -> None:
    """Send the bytes of one request."""
    connection.setblocking(True)
    offset = 0
    while offset < request.bytes:
        offset += os.sendfile(connection.fileno(), request.descriptor, offset, request.bytes - offset)
    connection.settimeout(ANSWER_SECONDS)


def send_plainly(address: tuple[str, int], requests: list[Request]) -> None:
    """Send the same bytes to the plain receiver.

    Raises
    ------
    NotStoredError
        It closed the connection.
    """
    with socket.create_connection(address, ANSWER_SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for request in requests:
            connection.sendall(struct.pack(">Q", request.bytes))
            push(connection, request)
            _exactly(connection, 1)


def _answer(connection: socket.socket) -> tuple[int, bytes]:
    """Return kind and body of the next PDU."""
    kind, length_bytes = struct.unpack(">BxI", _exactly(connection, 6))
    return kind, _exactly(connection, length_bytes)


def _exactly(connection: socket.socket, count: int) -> bytes:
    received = bytearray()
    while len(received) < count:
        step = connection.recv(count - len(received))
        if not step:
            raise NotStoredError("the receiver closed the connection")
        received += step
    return bytes(received)
