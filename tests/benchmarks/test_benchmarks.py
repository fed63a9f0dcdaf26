from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.windows import QUIET_SHARE, REPETITIONS, Measured, Window, in_turn

ROOT = Path(__file__).resolve().parents[2]
TINY = """
bundle_name = "trial"
architecture = "densenet-tiny"
init = "random"
[[stages]]
size_px = 32
epochs = 1
batch_size = 2
learning_rate = 1e-3
final_learning_rate = 1e-4
"""


def test_noisy_windows_are_left_out_where_enough_quiet_ones_are_there() -> None:
    quiet = [Window(seconds, 0.0) for seconds in (1.0, 2.0, 3.0, 4.0, 5.0)]
    noisy = [Window(100.0, QUIET_SHARE + 0.1)] * 9
    measured = Measured((*noisy, *quiet))
    assert measured.median_seconds == 3.0
    assert not measured.noisy
    too_few = Measured((*noisy, *quiet[:-1]))
    assert too_few.median_seconds == 100.0
    assert too_few.noisy


def test_ways_take_turns_and_short_ones_are_repeated_within_a_window() -> None:
    order: list[str] = []

    def slow() -> None:
        order.append("slow")
        time.sleep(0.02)

    def fast() -> None:
        order.append("fast")

    measured = in_turn({"slow": slow, "fast": fast}, least_seconds=0.002)
    assert len(measured["slow"].windows) == len(measured["fast"].windows) >= REPETITIONS
    assert measured["slow"].median_seconds > 3 * measured["fast"].median_seconds
    assert order.count("fast") > 2 * order.count("slow")
    turns = [name for place, name in enumerate(order[8:]) if name != order[place + 7]]  # after warming up
    assert turns[-4:] == ["slow", "fast", "slow", "fast"]


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="only Linux tells what other processes take")
def test_what_another_process_takes_is_seen() -> None:
    busy = "while True: pass"
    workers = [subprocess.Popen([sys.executable, "-c", busy]) for _ in range(os.cpu_count() or 1)]
    try:
        time.sleep(0.5)
        windows = in_turn({"sleep": lambda: time.sleep(0.3)}, most_rounds=3)["sleep"].windows
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    assert max(window.others for window in windows) > QUIET_SHARE


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_training_benchmark_checks_its_results_and_prints_ratios(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)
    command = [sys.executable, "-m", "benchmarks.training", "--recipe", str(tmp_path / "tiny.toml"), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert len(facts["rows"]) == 4
    assert all(row["ratio"] > 0 for row in facts["rows"])
    assert any("of a step" in note for note in facts["notes"])


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_analysis_benchmark_checks_its_pictures_and_prints_ratios() -> None:
    command = [sys.executable, "-m", "benchmarks.analyse", "LE", "HTJ2K", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    facts = found["rows"]
    assert {bar["of"] for bar in found["bars"]} >= {
        "LE, as it comes / plain", "HTJ2K, as it comes / plain", "HTJ2K, fast decoding / plain"
    }  # fmt: skip
    assert [(row["coding"], row["part"]) for row in facts] == [
        (coding, part) for coding in ("LE", "HTJ2K") for part in ("decode", "analyse")
    ]
    assert all(row["mean_levels"] <= 0.5 and row["fast_mean_levels"] <= 0.1 for row in facts)
    assert all(row["ratio"] > 1 for row in facts)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_analysis_benchmark_compares_pictures_of_every_coding(tmp_path: Path) -> None:
    """Both ways see the same picture, so that their times may be compared."""
    from benchmarks.analyse import BARS, MOST_LEVELS, MOST_MEAN_LEVELS
    from benchmarks.codings import write_codings
    from benchmarks.our_way import our_pixels
    from benchmarks.plain_way import plain_pixels

    codings = write_codings(tmp_path)
    assert set(codings) == set(BARS)
    for coding in ("LE", "RLE", "JPEG", "JPEG Lossless", "HTJ2K"):
        difference = abs(our_pixels(codings[coding]).astype(int) - plain_pixels(codings[coding]))
        assert difference.mean() <= MOST_MEAN_LEVELS and difference.max() <= MOST_LEVELS, coding


def test_every_window_is_prepared_and_its_way_runs_once() -> None:
    prepared: list[str] = []
    runs: list[str] = []
    ways = {name: lambda name=name: runs.append(name) for name in ("first", "second")}
    measured = in_turn(ways, least_seconds=1.0, prepare=prepared.append)
    assert prepared == runs
    assert len(measured["first"].windows) == runs.count("first") - 1  # the first run of each is not measured


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_receiving_benchmark_compares_what_was_stored_and_prints_ratios() -> None:
    command = [sys.executable, "-m", "benchmarks.receive", "--json", "--case", "study of two 10 MB images"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["tables"]["ratios"]
    assert {"plain", "pynetdicom"} <= set(row)
    assert row["plain"] > 0 and row["pynetdicom"] > 0


def test_a_receiver_that_stored_other_bytes_ends_the_measurement(tmp_path: Path) -> None:
    from benchmarks.dicom_sender import NotStoredError, Shape
    from benchmarks.receive import Case, Traffic
    from benchmarks.receivers import running

    with running("pynetdicom", tmp_path) as receiver:
        traffic = Traffic(Case("small", Shape(64, 64), 2, 2), receiver, tmp_path)
        traffic.prepare()
        traffic.send()
        traffic.prepare()  # nothing was wrong
        traffic.send()
        spoilt = next(receiver.folder.glob("*.dcm"))
        spoilt.write_bytes(spoilt.read_bytes()[:-1] + b"x")
        with pytest.raises(NotStoredError, match="other bytes"):
            traffic.prepare()
        traffic.close()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_end_to_end_benchmark_measures_every_part() -> None:
    command = [sys.executable, "-m", "benchmarks.end_to_end", "--studies", "4", "--json"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0
    found = json.loads(done.stdout)
    facts = found["facts"]
    assert 0 < facts["idle p50 seconds"] <= facts["idle p95 seconds"]
    assert facts["sustained studies per second"] > 0
    assert facts["recovery seconds"] > 0
    assert {"idle p95 seconds", "loaded p95 seconds", "sustained / plain, float32"} <= {b["of"] for b in found["bars"]}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_processes_benchmark_measures_rates_start_and_memory() -> None:
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.processes", "--cores", "1", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    (row,) = found["rows"]
    assert all(row[f"{way} images/s"] > 0 for way in ("ours", "fast", "plain"))
    values = [bar["value"] for bar in found["bars"]]
    assert all(value > 0 for value in values)
    assert values[-1] < 700, "a process of ours loads no torch"


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_network_benchmark_compares_runtimes_and_finds_no_more_than_the_peak() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "benchmarks.network", "--json"],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    shares = {row["runtime"]: row["share of peak"] for row in found["rows"]}
    assert {"torch fp32", "torch fp32 with Grad-CAM", "OpenVINO fp32", "OpenVINO fp32 without maps"} <= set(shares)
    assert all(0 < share <= 1 for name, share in shares.items() if "bf16" not in name)


@pytest.mark.slow
def test_the_network_benchmark_measures_any_device_by_batch_and_precision() -> None:
    import torch

    from benchmarks.network import accelerator

    rows = accelerator(torch.device("cpu"), (1, 2), 256)
    assert [(row["precision"], row["batch"]) for row in rows] == [
        ("float32", 1), ("float32", 2), ("bfloat16", 1), ("bfloat16", 2),
    ]  # fmt: skip
    assert all(row["images per second"] > 0 for row in rows)
