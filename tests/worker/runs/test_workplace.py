"""A bundle that cannot be loaded stops a process, or a run, in words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import model_factories
import pytest

import model.bundle
from model.bundle import write_bundle
from model.densenet import weights_of
from worker.runs.workplace import BundleUnusable, load_model
from worker.settings.config import Settings


def test_weights_of_no_trained_network_make_a_bundle_unusable(
    make_settings: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = weights_of(model_factories.network())
    weights["features.norm5.running_var"][:] = -1
    with monkeypatch.context() as careless:
        careless.setattr(model.bundle, "impossible_tensors", lambda _: [])
        write_bundle(tmp_path / "bundle", model_factories.facts(), weights, "# Card\n")
    settings = make_settings(bundles={"default": tmp_path / "bundle"}, allow_demonstration_bundle=True)
    with pytest.raises(BundleUnusable, match=r"running_var holds .* \(bundles\.default in the configuration\)"):
        load_model(settings, "default")
