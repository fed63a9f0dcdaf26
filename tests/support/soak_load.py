"""The modality of a soak: sends drawn studies, tries again for ever, and keeps a ledger of every answer."""

from __future__ import annotations

import itertools
import json
import random
import socket
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
from factories import chest_radiograph, drawn_chest, write_dicom
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from soak_checker import dataset_sha256

from dicom_io.foundation.peer import Peer
from dicom_io.services.storage_scu import send

SIDE_PX = 256
OTHER_VIEWS = (3, 14)
"""At least and fewer than so many lateral images beside one or two frontal ones."""
POISON_EVERY = 40
"""One study of so many has a picture that is cut short; it must end as a visible failure."""
MODALITY = "MODALITY"


@dataclass(frozen=True)
class SentStudy:
    """One study on the modality's disk."""

    uid: str
    patient_id: str
    poison: bool
    files: tuple[Path, ...]


@dataclass
class Modality:
    """Sends studies to the peer at a steady rate, from several threads, until `over`; then what is left."""

    peer: Peer
    folder: Path
    seed: int
    instances_per_second: float
    over: threading.Event = field(default_factory=threading.Event)
    hopeless: threading.Event = field(default_factory=threading.Event)
    """Set when what is left shall not be tried any more."""
    accepted: int = 0
    """Answers of success."""
    put_off: int = 0
    """Answers of any other kind than success, and none at all."""
    _recent: deque[SentStudy] = field(default_factory=lambda: deque(maxlen=200))
    _waiting: deque[SentStudy] = field(default_factory=deque)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def ledger(self) -> Path:
        """Where every study and every answer is written down."""
        return self.folder / "ledger.jsonl"

    def run(self, threads: int = 3) -> None:
        """Send until `over`; then send what was not accepted, again and again, until all of it is."""
        with ThreadPoolExecutor(threads, "modality") as pool:
            for done in [pool.submit(self._send_for_ever, number, threads) for number in range(threads)]:
                done.result()

    def draw(self) -> SentStudy:
        """Make a new study and write it down as planned."""
        number = next(self._numbers)
        draw = random.Random(f"{self.seed}/{number}")
        poison = number % POISON_EVERY == POISON_EVERY - 1
        frontals = 1 if poison or draw.random() < 0.8 else 2
        views = ["PA"] * frontals + ["LL"] * (0 if poison else draw.randrange(*OTHER_VIEWS))
        patient = {"PatientID": f"SOAK-{number}", "PatientName": f"Soak^{number}", "AccessionNumber": f"S{number}"}
        first = chest_radiograph()
        files = []
        for position, view in enumerate(views, 1):
            pixels = drawn_chest(SIDE_PX, SIDE_PX)
            pixels += np.random.default_rng((self.seed, number, position)).integers(0, 9, pixels.shape, dtype=np.uint16)
            image = chest_radiograph(
                np.minimum(pixels, 4095),
                StudyInstanceUID=first.StudyInstanceUID,
                SeriesInstanceUID=first.SeriesInstanceUID,
                ViewPosition=view,
                InstanceNumber=position,
                **patient,
            )
            if poison:
                image.PixelData = image.PixelData[: len(image.PixelData) // 3 // 2 * 2]
            files.append(write_dicom(image, self.folder / f"{image.SOPInstanceUID}.dcm"))
        study = SentStudy(str(first.StudyInstanceUID), patient["PatientID"], poison, tuple(files))
        self._write({"study": study.uid, "patient": study.patient_id, "poison": poison})
        return study

    def offer(self, study: SentStudy, files: Sequence[Path] | None = None) -> bool:
        """Send files of a study over one association, note the answers; return whether all were accepted."""
        outcomes = send(self.peer, list(files or study.files), MODALITY)
        for outcome in outcomes:
            digest = dataset_sha256(outcome.path.read_bytes())
            self._write({"study": study.uid, "sop": outcome.path.stem, "sha256": digest, "status": outcome.status})
        accepted = all(outcome.status == 0 for outcome in outcomes)
        self.accepted += sum(outcome.status == 0 for outcome in outcomes)
        self.put_off += not accepted
        if accepted:
            with self._lock:  # several threads send, and a deque is not looked through while it changes
                if study not in self._recent:
                    self._recent.append(study)
        return accepted

    def recent(self, most: int) -> list[SentStudy]:
        """Return the newest studies that were accepted, for faults that send something again; newest last."""
        with self._lock:
            return list(self._recent)[-most:]

    def keep_trying(self, study: SentStudy) -> None:
        """Have the sending threads send the study, once more or for the first time."""
        self._waiting.append(study)

    def stop_half_way(self, study: SentStudy, how: str) -> str:
        """Begin to send the first image and end the association in the middle of it; return what was done.

        Parameters
        ----------
        how
            ``abort`` says so (A-ABORT); ``close`` closes the connection without a word.
        """
        dataset = pydicom.dcmread(study.files[0])
        content = study.files[0].read_bytes()
        ae = AE(MODALITY)
        ae.add_requested_context(dataset.SOPClassUID, ExplicitVRLittleEndian)
        association = ae.associate(self.peer.host, self.peer.port, ae_title=self.peer.ae_title)
        if not association.is_established:
            return ""
        request = C_STORE()
        request.MessageID = 1
        request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
        request.Priority = 2
        request.DataSet = BytesIO(content[-2 * SIDE_PX * SIDE_PX :])
        message = C_STORE_RQ()
        message.primitive_to_message(request)
        parts = list(message.encode_msg(association.accepted_contexts[0].context_id, 16384))
        for part in parts[: len(parts) // 2]:
            association.dul.send_pdu(part)
        time.sleep(0.2)
        if how == "close":
            transport = association.dul.socket
            if transport is None or transport.socket is None:
                return ""
            transport.socket.shutdown(socket.SHUT_RDWR)
        association.abort()  # after the connection is gone, this ends only our own threads
        return f"{how} after {len(parts) // 2} of {len(parts)} fragments"

    def _send_for_ever(self, number: int, threads: int) -> None:
        next_at = time.monotonic() + number / max(self.instances_per_second, 0.1)
        while not self.hopeless.is_set() and (not self.over.is_set() or self._waiting):
            study = self._take_waiting()
            if study is None:
                if time.monotonic() < next_at:
                    time.sleep(0.05)
                    continue
                study = self.draw()
                next_at = next_at + threads * len(study.files) / self.instances_per_second
            if not self.offer(study):
                self._waiting.append(study)
                time.sleep(0.5)

    def _take_waiting(self) -> SentStudy | None:
        try:
            return self._waiting.popleft()
        except IndexError:
            return None

    def _write(self, entry: dict[str, object]) -> None:
        with self._lock, self.ledger.open("a") as ledger:
            ledger.write(json.dumps(entry) + "\n")
