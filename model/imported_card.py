"""The model card of imported weights."""

from __future__ import annotations

from model.bundle_file import BundleFacts, Imported
from model.labels import LABELS

_LEAKS = {
    True: "**Images of ChestX-ray14's official test list took part in making these weights. Never score them on that "
    "list or on the bounding boxes, all of which lie in it: the figures would be better than the network is.**",
    False: "No image of ChestX-ray14's official test list took part in training.",
    None: "Which images these weights have seen is not known here: figures on a public test list prove nothing until "
    "that is settled.",
}


def imported_card(facts: BundleFacts, imported: Imported, file_name: str) -> str:
    """Return the text of ``MODEL_CARD.md``, Markdown."""
    untrained = [label for label, trained in zip(LABELS, facts.trained, strict=True) if not trained]
    lines = [
        f"Imported from `{file_name}` (SHA-256 `{imported.checkpoint_sha256}`), read as the network of "
        f"{imported.published}{f', weight set {imported.weight_set}' if imported.weight_set else ''}.",
        f"Trained on: {facts.trained_on.description}.",
        _LEAKS[facts.trained_on.seen_official_test],
        "How it was selected is unknown. Nothing here was measured on these weights.",
        _calibration_line(facts),
        _input_line(facts),
        f"Not trained, reported as unknown, never flagged: {', '.join(untrained) or 'none'}.",
        f"Outputs of the file that are none of the 14, dropped: {', '.join(imported.dropped_outputs) or 'none'}.",
        "The licence of the weights is their authors' business: ask them before using these in a product.",
        "The labels of the public data sets were mined from reports; many are wrong.",
        "The golden images are a ramp and noise, not radiographs: they prove the arithmetic, nothing else.",
    ]
    points = "\n".join(f"- {line}" for line in lines)
    title = f"# Model card: {facts.name} {facts.version}"
    return f"{title}\n\nNOT FOR DIAGNOSTIC USE. This is not a medical device.\n\n{points}\n"


def _calibration_line(facts: BundleFacts) -> str:
    if facts.calibration.op_threshs is not None:
        return (
            "Not calibrated: the numbers are torchxrayvision's normalised outputs (op_norm), 0.5 at the authors' "
            "operating threshold. They are not probabilities. Fit calibration and thresholds on local data before use."
        )
    return (
        "Not calibrated, and every threshold is 0.5 because none was chosen: fit calibration and thresholds on local "
        "data before believing a flag or the lack of one."
    )


def _input_line(facts: BundleFacts) -> str:
    if facts.preparation is None:
        return f"Input: the whole picture squashed to {facts.input_size_px} px, as for networks trained here."
    several = ", ten views per picture, ten times the work" if facts.preparation.crops == "ten" else ""
    return (
        f"Input as the authors tested: `{facts.preparation.identity}`, {facts.preparation.channels} channel(s), mean "
        f"{list(facts.preparation.mean)}, deviation {list(facts.preparation.std)} of grey levels in 0..1{several}. The "
        "picture is the displayed one (VOI LUT applied, bones bright), in 8 bits, resized by Pillow."
    )
