"""``python -m model``: what a bundle is, whether it works on this machine, and bundles from public checkpoints.

Exit status: 0 done, 1 the bundle or checkpoint is not usable, 2 wrong arguments.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from model.bundle import Bundle, BundleError, load_bundle
from model.classifier import NotFiniteError, RuntimeUnavailableError
from model.deferred_commands import FlowingGroup
from model.golden import tolerance_of, verify_golden
from model.gpu import serving_classifier
from model.published import PUBLISHED
from model.standard_streams import written_whole
from model.torchxrayvision import WEIGHT_SETS

DISCLAIMER = "NOT FOR DIAGNOSTIC USE. This is not a medical device."

app = typer.Typer(cls=FlowingGroup, no_args_is_help=True, add_completion=False, help=f"Model bundles. {DISCLAIMER}")
_console = Console(soft_wrap=True)
_errors = Console(stderr=True, soft_wrap=True)

BundlePath = Annotated[Path, typer.Argument(help="Bundle folder or .zip.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


class PrecisionChoice(StrEnum):
    """Arithmetic that can be asked for."""

    FP32 = "fp32"
    BF16 = "bf16"


class RuntimeChoice(StrEnum):
    """Runtimes that can be asked for."""

    AUTO = "auto"
    OPENVINO = "openvino"
    TORCH = "torch"
    CUDA = "cuda"


def main() -> None:
    """Run the command line."""
    with _clear_errors(OSError), written_whole():
        app()


@app.command()
def show(bundle_path: BundlePath, as_json: AsJson = False) -> None:
    """Say what a bundle is: origin, findings, thresholds, figures. Verifies its hashes on the way."""
    with _clear_errors():
        bundle = load_bundle(bundle_path)
    if as_json:
        _print_json(json.loads(bundle.to_json()) | {"model_version": bundle.model_version})
        return
    kind = "DEMONSTRATION MODEL, not for patients" if bundle.demonstration else "model"
    _console.print(f"[bold]{bundle.name}[/bold] {bundle.model_version} ({bundle.architecture}) - {kind}")
    _console.print(DISCLAIMER)
    _console.print(f"Trained on: {bundle.trained_on.description}", markup=False)
    for line in _import_notes(bundle):
        _console.print(line, markup=False)
    _console.print(_findings_table(bundle))
    _console.print(_suitability_line(bundle), markup=False)
    _console.print(_precision_line(bundle), markup=False)
    _console.print(f"Card: {bundle.card_path}", markup=False)


@app.command()
def verify(
    bundle_path: BundlePath,
    runtime: Annotated[RuntimeChoice, typer.Option(help="Runtime to prove.")] = RuntimeChoice.AUTO,
    precision: Annotated[
        PrecisionChoice, typer.Option(help="Arithmetic to prove; bf16 may differ by more, see `show`.")
    ] = PrecisionChoice.FP32,
    as_json: AsJson = False,
) -> None:
    """Prove a bundle on this machine: all hashes, and every golden image within the stated tolerance."""
    with _clear_errors(NotFiniteError):
        bundle = load_bundle(bundle_path).served_in(precision.value)
        classifier = serving_classifier(bundle, runtime.value, None)
        results = verify_golden(classifier)
    passed = bool(results) and all(result.passed for result in results)
    if as_json:
        images = [asdict(result) | {"passed": result.passed} for result in results]
        facts: dict[str, Any] = {"model_version": bundle.model_version, "runtime": classifier.runtime}
        facts |= {"precision": bundle.precision, "tolerance": tolerance_of(bundle)}
        _print_json(facts | {"passed": passed, "golden_images": images})
    else:
        table = Table(
            "golden image",
            "largest difference",
            "result",
            title=f"{bundle.name} on {classifier.runtime}, {precision.value}",
        )
        for result in results:
            table.add_row(result.file, f"{result.largest_difference:.2e}", "passed" if result.passed else "FAILED")
        _console.print(table)
        _console.print(_verdict(passed, bool(results), tolerance_of(bundle)))
    if not passed:
        raise typer.Exit(1)


def _one_of(known: Iterable[str]) -> Callable[[str | None], str | None]:
    """Return a check that an option, if given, names one of these."""

    def check(value: str | None) -> str | None:
        if value is not None and value not in known:
            raise typer.BadParameter(f"{value!r} is none of {', '.join(known)}")
        return value

    return check


@app.command("import")
def import_(
    checkpoint: Annotated[
        Path, typer.Argument(help="File of torch.save: a state dict or a whole DenseNet-121.", exists=True)
    ],
    bundle_path: Annotated[Path, typer.Argument(help="Bundle folder to make; a bundle already there is replaced.")],
    name: Annotated[str, typer.Option(help="Name of the bundle: small letters, digits, . _ -")],
    published: Annotated[
        str | None,
        typer.Option(
            callback=_one_of(PUBLISHED),
            help=f"Whose network it is, which says what its outputs mean and how pictures are prepared: "
            f"{', '.join(PUBLISHED)}. Needed only where the file's layout does not tell.",
        ),
    ] = None,
    weight_set: Annotated[
        str | None,
        typer.Option(
            callback=_one_of(WEIGHT_SETS),
            help=f"torchxrayvision only: {', '.join(WEIGHT_SETS)}. Needed only where the file was renamed.",
        ),
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="What the weights were trained on, where you know more than this program.")
    ] = None,
    version: Annotated[str, typer.Option(help="Version of the bundle.")] = "1.0.0",
    as_json: AsJson = False,
) -> None:
    """Make a bundle from a published DenseNet-121 checkpoint; nothing in the file is executed.

    Findings the network was not trained on are reported as unknown and never flag; outputs that are none of the 14
    findings are dropped. The result is not calibrated: read its MODEL_CARD.md before use.
    """
    from model.checkpoint import CheckpointError  # here, because torch takes seconds that show and verify do not need
    from model.importing import import_checkpoint

    with _clear_errors(CheckpointError, NotFiniteError, OSError, ValueError):
        bundle = import_checkpoint(
            checkpoint,
            bundle_path,
            name=name,
            version=version,
            published=published,
            weight_set=weight_set,
            source=source,
        )
    if as_json:
        facts = {"folder": str(bundle.folder), "model_version": bundle.model_version}
        _print_json(facts | {"imported": json.loads(bundle.to_json())["imported"]})
        return
    _console.print(f"Wrote {bundle.name} {bundle.model_version} to {bundle.folder}", markup=False)
    for line in _import_notes(bundle):
        _console.print(line, markup=False)


@contextmanager
def _clear_errors(*more: type[Exception]) -> Iterator[None]:
    """Print a known error as one sentence and leave with status 1."""
    known: tuple[type[Exception], ...] = (BundleError, RuntimeUnavailableError, *more)
    try:
        yield
    except known as error:
        words = str(error)
        if isinstance(error, OSError) and error.filename is not None:
            words = f"{error.strerror}: {error.filename}"
        _errors.print(f"error: {words}", markup=False)
        raise SystemExit(1) from error


def _import_notes(bundle: Bundle) -> Iterator[str]:
    """Yield what is to be known of imported weights, a line each; nothing for a bundle that was trained here."""
    if bundle.imported is None:
        return
    yield f"Imported: network of {bundle.imported.published}; input {bundle.preprocessing}"
    if bundle.imported.dropped_outputs:
        yield f"Dropped, none of the 14 findings: {', '.join(bundle.imported.dropped_outputs)}"
    if bundle.trained_on.seen_official_test:
        yield "These weights have seen images of ChestX-ray14's official test list: never score them on it."
    if bundle.metrics.get("selection") == "unknown":
        yield "Selection unknown, calibration and thresholds not fitted: read its MODEL_CARD.md before use."


def _suitability_line(bundle: Bundle) -> str:
    if bundle.suitability is None:
        return "Input suitability: not checked; fit a check with `python -m training suitability`"
    facts = bundle.suitability
    return f"Input suitability: checked from score {facts.score_limit:.3f}, learned from {facts.learned_from}"


def _precision_line(bundle: Bundle) -> str:
    trial = bundle.bf16
    if trial is None:
        return "Arithmetic: fp32; bf16 was never tried (`python -m training precision`)"
    figures = (
        f"{trial.part}: a probability moves by at most {trial.largest_difference:.4f}, an AUROC by "
        f"{trial.largest_auroc_difference:.4f}, {trial.crossings} of {trial.decisions:,} decisions come out otherwise"
    )
    return f"Arithmetic: fp32; {'bf16 failed its trial' if trial.obstacle else 'bf16 passed its trial'} ({figures})"


def _findings_table(bundle: Bundle) -> Table:
    table = Table("finding", "threshold", "sensitivity", "specificity", "chosen by")
    for label, trained in zip(bundle.labels, bundle.trained, strict=True):
        if not trained:
            table.add_row(label, "not trained", "", "", "never flags")
            continue
        point = bundle.operating_points.get(label)
        if point is None:
            table.add_row(label, "none chosen", "", "", "reported, never flags")
            continue
        figures = ("unknown" if value is None else f"{value:.3f}" for value in (point.sensitivity, point.specificity))
        table.add_row(label, f"{point.threshold:.3f}", *figures, escape(point.chosen_by))
    return table


def _verdict(passed: bool, has_images: bool, tolerance: float) -> str:
    if not has_images:
        return "No golden images in this bundle: nothing proves its results here."
    return f"{'Every' if passed else 'NOT every'} probability is within {tolerance} of the trainer's."


def _print_json(content: dict[str, Any]) -> None:
    typer.echo(json.dumps(content, indent=2))
