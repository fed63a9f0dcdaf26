"""From a stored file to a result as the worker does it; imports what a worker imports, and no torch."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dicom_io.data_sets.dicom_file import parse_dicom, read_dicom_file, read_hashed
from dicom_io.pixels.fidelity import Decoding
from dicom_io.pixels.radiograph import read_radiograph
from dicom_io.results.identity_guard import require_identity
from dicom_io.results.reporting import Algorithm, AnalysedImage, Report, ReportedFinding
from dicom_io.results.result_file import write_result
from model.cam import saliency
from model.classifier import Classification
from model.labels import LABELS
from model.precision import Precision
from model.preprocess import INPUT_SIZE_PX, to_uint8_224
from worker.foundation.kept_memory import keep_freed_memory
from worker.foundation.stopwatch import Stopwatch
from worker.runs.analysis import Analysis
from worker.runs.kept_results import KeptPictures
from worker.runs.reading import Picture
from worker.runs.result_objects import ResultObject, result_objects
from worker.runs.workplace import load_model
from worker.settings.config import STARTER_BUNDLE, Settings

FINDING = LABELS.index("Cardiomegaly")
"""Drawn whatever the network says of it, so that both ways make one picture."""


def our_pixels(path: Path, decoding: Decoding = Decoding.EXACT) -> NDArray[np.uint8]:
    """File to the network's input, uint8 [224, 224], as the worker does it."""
    return to_uint8_224(read_radiograph(read_dicom_file(path), decoding).pixels)


class OurWay:
    """The worker's own functions, from a stored file to the bytes of a report and a picture."""

    def __init__(self, folder: Path, precision: Precision = "fp32") -> None:
        keep_freed_memory()
        self.settings = Settings(
            data_dir=folder / "data",
            bundles={"default": STARTER_BUNDLE},  # it passed its trial of bfloat16
            allow_demonstration_bundle=True,
            precision=precision,
        )
        self.model = load_model(self.settings, "default")
        if self.model.bundle.precision != precision:
            raise RuntimeError(f"the bundle is not served in {precision}: what is measured would be something else")

    def analyse(self, path: Path, decoding: Decoding = Decoding.EXACT, watch: Stopwatch | None = None) -> int:
        """Return the bytes of all results; the stages are added up on the watch."""
        watch = watch or Stopwatch()
        with watch.stage("read the file, hash"):
            file_bytes, _sha256 = read_hashed(path)  # the worker compares it with what was received
            dataset = parse_dicom(file_bytes, path)
        with watch.stage("decode, grey levels, hash"):
            radiograph = read_radiograph(dataset, decoding)
        del dataset.PixelData
        picture = Picture(0, str(dataset.SOPInstanceUID), dataset, radiograph)
        with watch.stage("224 x 224"):
            views = self.model.classifier.prepare(radiograph.pixels)
        with watch.stage("network"):
            said = self.model.classifier.classify(views)
        with watch.stage("report and picture"):
            made = self._made(picture, said)
        with watch.stage("write, read back, compare"):
            written = [(write_result(each.dataset), each.source) for each in made]
            for content, source in written:
                require_identity(content, source)
        return sum(len(content) for content, _ in written)

    def _made(self, picture: Picture, said: Classification) -> list[ResultObject]:
        assessment = self.model.policy.assess((said.probabilities,))
        drawn = {LABELS[FINDING]: saliency(said.maps[FINDING], (INPUT_SIZE_PX, INPUT_SIZE_PX))}
        staged = Analysis((picture,), (), (said.probabilities,), assessment, drawn, KeptPictures(), None)
        return list(result_objects(staged, self._report(picture), self.settings))

    def _report(self, picture: Picture) -> Report:
        return Report(
            priority="ROUTINE",
            priority_reason="benchmark",
            images=(AnalysedImage(picture.sop_instance_uid, picture.radiograph.pixel_sha256),),
            findings=(ReportedFinding(LABELS[FINDING], 0.9, 0.5),),
            algorithm=Algorithm(self.model.bundle.name, self.model.bundle.model_version),
            demonstration=self.model.bundle.demonstration,
            policy_hash=self.model.policy.hash,
            created_at=datetime.now(UTC),
        )
