"""The ``features`` command: shards that do not depend on interruptions, and a manifest that vouches for them."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from head_runs import TINY_RECIPE, bright_layout
from typer.testing import CliRunner

from training.cli import app, main
from training.data.cache import open_cache
from training.heads.backbone import BackboneChoice, load_backbone
from training.heads.errors import HeadError
from training.heads.extraction import pictures_of
from training.heads.shards import FeatureRow, read_features, read_manifest

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.usefixtures("forked_members")


def arguments(run: Path, out: str, *more: str) -> list[str]:
    paths = ["--data", run / "data", "--out", run / out, "--recipe", run / "tiny.toml", "--cache", run / "cache"]
    return ["features", *map(str, paths), *more]


def refusal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run the command line in this process and return what it says, in one line, when it ends with status 1."""
    monkeypatch.setattr(sys, "argv", ["training", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    return " ".join(capsys.readouterr().err.split())


def shards(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.parquet"))}


def interrupted_at_first_shard(run: Path, out: str, number: signal.Signals) -> tuple[int, str]:
    """Start the command, send it a signal as soon as one shard is there; return its status and what it said."""
    command = [sys.executable, "-m", "training", *arguments(run, out, "--workers", "1")]
    log = run / f"{out}.log"
    with log.open("w") as stream, subprocess.Popen(command, stderr=stream, cwd=ROOT, start_new_session=True) as process:
        deadline = time.monotonic() + 90
        while not list((run / out).glob("*.parquet")) and time.monotonic() < deadline:
            time.sleep(0.002)
        process.send_signal(number)
        process.wait(timeout=60)
    return process.returncode, log.read_text()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty pictures of thirty patients in twenty shards, and the features of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("features")
    bright_layout(folder / "data")
    (folder / "tiny.toml").write_text(TINY_RECIPE)
    made = CliRunner().invoke(app, arguments(folder, "whole", "--workers", "1"))
    assert made.exit_code == 0, made.output
    assert "LEAKY" in made.stdout
    return folder


def test_the_manifest_vouches_for_every_shard(run: Path) -> None:
    manifest = read_manifest(run / "whole")
    assert {shard["file"]: shard["sha256"] for shard in manifest["shards"]} == shards(run / "whole")
    assert manifest["rows"] == {"training": 36, "validation": 12, "test": 12}  # 0.6, 0.2, 0.2 of 60
    assert [shard["rows"] for shard in manifest["shards"]] == [3] * 20
    assert manifest["split"]["mark"].startswith("LEAKY")
    assert "Not a medical device" in manifest["notice"]
    for file in (run / "whole").glob("*.parquet"):
        facts = pq.read_schema(file).metadata
        assert facts[b"split"].startswith(b"LEAKY")
        assert b"Not a medical device" in facts[b"notice"]


def test_the_shards_hold_the_features_of_the_pictures_mirrored_in_training_only(run: Path) -> None:
    table = read_features(run / "whole")
    rows = [row for file in sorted((run / "whole").glob("*.parquet")) for row in pq.read_table(file).to_pylist()]
    flipped = {row["part"]: sum(other["flipped"] for other in rows if other["part"] == row["part"]) for row in rows}
    assert (flipped["validation"], flipped["test"]) == (0, 0)
    assert 8 <= flipped["training"] <= 28  # of 36; a fair coin leaves this range once in 500 times
    choice = BackboneChoice("shufflenet_v2_x0_5", "random", None, 32, seed=2017)
    backbone, _ = load_backbone(choice, torch.device("cpu"))
    cache = open_cache(run / "cache")
    for place in (0, 20, 59):
        picture = cache.pixels[cache.rows[rows[place]["image_index"]]]
        seen = np.fliplr(picture) if rows[place]["flipped"] else picture
        expected = backbone.features_of(np.array(seen)[None])[0]
        np.testing.assert_allclose(table.features[place], expected, rtol=1e-4, atol=1e-5)


def test_only_the_rows_that_say_so_are_mirrored(run: Path) -> None:
    cache = open_cache(run / "cache")
    names = list(cache.rows)[:2]
    rows = [
        FeatureRow(name, "1", "training", flip, 50, "M", (0,) * 14)
        for name, flip in zip(names, (True, False), strict=True)
    ]
    mirrored, plain = pictures_of(cache, rows)
    assert np.array_equal(mirrored, cache.pixels[cache.rows[names[0]]][:, ::-1])
    assert np.array_equal(plain, cache.pixels[cache.rows[names[1]]])


@pytest.mark.slow
def test_a_killed_run_continues_to_the_same_bytes_with_any_number_of_workers(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert interrupted_at_first_shard(run, "killed", signal.SIGKILL)[0] == -signal.SIGKILL
    time.sleep(1)  # the worker sees that its parent is gone
    kept = shards(run / "killed")
    assert 0 < len(kept) < 20
    written = {path.name: path.stat().st_mtime_ns for path in (run / "killed").glob("*.parquet")}
    time.sleep(1)
    assert shards(run / "killed") == kept  # no orphan goes on
    with pytest.raises(HeadError, match="not finished; run the same"):
        read_features(run / "killed")
    with caplog.at_level("INFO"):
        assert CliRunner().invoke(app, arguments(run, "killed", "--workers", "2")).exit_code == 0
    assert f"{len(kept)} of 20 shards are there already" in caplog.text
    assert shards(run / "killed") == shards(run / "whole")
    assert all((run / "killed" / name).stat().st_mtime_ns == at for name, at in written.items())
    assert (run / "killed" / "manifest.json").read_bytes() == (run / "whole" / "manifest.json").read_bytes()


@pytest.mark.slow
def test_a_terminated_run_says_that_it_continues(run: Path) -> None:
    status, said = interrupted_at_first_shard(run, "terminated", signal.SIGTERM)
    assert (status, "the same command continues" in said) == (130, True), said
    assert not (run / "terminated" / "manifest.json").exists()


def test_an_altered_shard_is_refused_and_made_again(run: Path) -> None:
    shard = run / "whole" / "shard-00004.parquet"
    before = shard.read_bytes()
    shard.write_bytes(before[:-1] + b"x")
    with pytest.raises(HeadError, match=r"shard-00004\.parquet is missing or altered"):
        read_features(run / "whole")
    assert CliRunner().invoke(app, arguments(run, "whole", "--workers", "1")).exit_code == 0
    assert shard.read_bytes() == before


def test_other_settings_are_refused_by_name(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = shards(run / "whole")
    said = refusal(monkeypatch, capsys, *arguments(run, "whole", "--split", "official"))
    assert "made with other settings (data, rows_sha256 differ)" in said
    assert shards(run / "whole") == before


def test_bad_choices_are_one_sentence(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = str(ROOT / "model" / "bundles" / "phantom-densenet121")
    for more, expected in (
        (("--backbone", "resnet-5"), "did you mean 'resnet50'"),
        (("--init", "none.pth"), "no such file"),
        (("--backbone", bundle, "--init", "random"), "brings its own weights"),
        (("--split", "thirds"), "data.split"),
        (("--data", "nowhere", "--init", "none.pth"), "nowhere: no Data_Entry_2017"),
    ):
        assert expected in refusal(monkeypatch, capsys, *arguments(run, "other", *more))
    assert not (run / "other").exists()


def test_the_main_command_sends_the_recipe_of_a_head_to_its_own_commands(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refusal(monkeypatch, capsys, "--data", str(run / "data"), "--recipe", "s2")
    assert "`python -m training features --recipe s2`, then `python -m training head`" in said


def test_nothing_in_the_manifest_names_this_machine(run: Path) -> None:
    assert str(run) not in json.dumps(read_manifest(run / "whole"))
