"""The checker of the soak is proven: a product with a guarantee taken out of it is found out, by its right name."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from orthanc import need
from soak import Soak

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SABOTAGED = {
    "drop fsyncs": ("power cut", "lost_instance", 0.0),
    "draw uids": ("worker dies after result files", "other_name", 0.0),
    "remove claim": ("messages doubled and reordered", "claimed_twice", 2.0),
}
"""The fault that brings it to light, what the checker must complain of, and how many seconds longer analyses take: long
enough for the second worker that is rung for a study to meet the first."""
LONGEST_SECONDS = 300.0
FAULTS = 2


def complaints(folder: Path, fault: str, slower_seconds: float, sabotage: str = "") -> Counter[str]:
    """Soak a product with this fault alone, twice, and return what the checker complains of, by kind."""
    environment = {"CXR_CONCURRENCY": "2", "SOAK_SABOTAGE": sabotage, "SOAK_SLOW_RUNS": str(slower_seconds)}
    soak = Soak(folder, "sqlite", 11, LONGEST_SECONDS, rest_seconds=90.0, enough_faults=FAULTS)
    soak.kinds, soak.site.environment = frozenset({fault}), environment
    try:
        broken = soak.run()
    finally:
        soak.site.stop()
    assert any(entry["proof"] for entry in soak.fired), soak.fired
    return Counter(found.kind for found in broken)


@pytest.mark.parametrize("sabotage", SABOTAGED)
def test_a_sabotaged_product_is_found_out_and_a_whole_one_is_not(sabotage: str, tmp_path: Path) -> None:
    need("Orthanc", "orthanc")
    fault, complaint, slower_seconds = SABOTAGED[sabotage]
    whole, sabotaged = tmp_path / "whole", tmp_path / "sabotaged"
    for folder in (whole, sabotaged):
        folder.mkdir()
    assert complaints(whole, fault, slower_seconds) == {}
    assert complaints(sabotaged, fault, slower_seconds, sabotage)[complaint] > 0
