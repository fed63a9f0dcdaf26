"""A site may choose the fast decoding; what was chosen is on record, in the report too where it counts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from benches import Bench
from bundles import SIDE_PX as INPUT_PX
from bundles import write_test_bundle
from factories import chest_radiograph, drawn_chest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from reports import groups
from sqlalchemy import select

from dicom_io.pixels import half_resolution
from model.preprocess import preprocessing_id
from worker.rows.database import SessionFactory
from worker.rows.site_tables import Event
from worker.settings.config import ConfigurationError, Settings

pytestmark = pytest.mark.either_database
SIDE_PX = 600


@pytest.fixture
def make_bench(
    make_settings: Callable[..., Settings], sessions: SessionFactory, tmp_path: Path
) -> Callable[..., Bench]:
    def make(**settings: object) -> Bench:
        write_test_bundle(tmp_path / "bundle")
        chosen = {"bundles": {"default": tmp_path / "bundle"}, "accept_unknown_sources": True} | settings
        return Bench(make_settings(**chosen), sessions)

    return make


@pytest.fixture(autouse=True)
def _pictures_need_not_be_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the limit lies in earnest is tested with the decoding itself."""
    monkeypatch.setattr(half_resolution, "SHORTEST_SIDE_PX", SIDE_PX)


def large_jpeg2000(**keywords: object) -> Dataset:
    noise = np.random.default_rng(2).integers(0, 40, (SIDE_PX, SIDE_PX), dtype=np.uint16)
    pixels = (drawn_chest(SIDE_PX, SIDE_PX) >> 1) + noise
    frame = imagecodecs.jpeg2k_encode(pixels, level=0, reversible=True, codecformat="j2k", bitspersample=12)
    dataset = chest_radiograph(
        pixels, TransferSyntaxUID="1.2.840.10008.1.2.4.90", PixelData=encapsulate([frame]), **keywords
    )
    dataset["PixelData"].is_undefined_length = True
    return dataset


def finished(bench: Bench, study_instance_uid: str) -> dict:
    with bench.sessions() as session:
        statement = select(Event).where(Event.study_instance_uid == study_instance_uid, Event.kind == "finished")
        (event,) = session.scalars(statement)
        return dict(event.details)


def report_parameters(bench: Bench, study_instance_uid: str) -> set[str]:
    """Return the algorithm parameters of every measurement group."""
    (run,) = bench.runs(study_instance_uid)
    report = next(dataset for dataset in bench.datasets(run) if dataset.Modality == "SR")
    return {str(item.TextValue) for items in groups(report) for item in items.get("111002", [])}


@pytest.mark.parametrize(("decoding", "halved"), [("exact", False), ("fast", True)])
def test_how_a_picture_was_decoded_is_on_record(make_bench: Callable[..., Bench], decoding: str, halved: bool) -> None:
    bench = make_bench(decoding=decoding)
    dataset = large_jpeg2000()
    study = bench.triage(dataset)
    assert study.state == "triaged"
    details = finished(bench, study.study_instance_uid)
    assert details["preprocessing"] == preprocessing_id(INPUT_PX)
    (made,) = details["pictures"].values()
    assert (made["decoded"], made["half_resolution"]) == ("JPEG 2000", halved)
    assert list(details["pictures"]) == [dataset.SOPInstanceUID]
    parameters = report_parameters(bench, study.study_instance_uid)
    assert ("images_decoded_at_half_resolution=1" in parameters) is halved


def test_another_choice_is_another_analysis(make_bench: Callable[..., Bench]) -> None:
    dataset = large_jpeg2000()
    exact = make_bench()
    uid = exact.triage(dataset).study_instance_uid
    fast = make_bench(decoding="fast")
    fast.triage(large_jpeg2000(StudyInstanceUID=uid, SOPInstanceUID=dataset.SOPInstanceUID, PatientID="PHANTOM-1"))
    first, second = fast.runs(uid)
    assert (first.state, second.state) == ("superseded", "done")
    old, new = ({result.sop_instance_uid for result in fast.results(run)} for run in (first, second))
    assert old and new and not old & new


def test_only_known_choices_are_taken(make_settings: Callable[..., Settings]) -> None:
    assert make_settings().decoding == "exact"
    with pytest.raises(ConfigurationError, match="decoding"):
        make_settings(decoding="quick")
