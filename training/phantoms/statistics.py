"""Sizes and places of the drawn lesions, summarised from the boxes radiologists drew in ChestX-ray14.

Source of every number: the NIH Clinical Center's ``BBox_List_2017.csv`` (984 boxes on 880 images, 1024 x 1024 px
frame; Wang et al., "ChestX-ray8", CVPR 2017). Only the five-number summaries below were taken over (10th, 25th, 50th,
75th and 90th percentile of each column); the file itself is neither needed nor part of this project. Consolidation has
no boxes there: the summaries of "Infiltrate" and "Pneumonia" (243 boxes) stand in for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DRAWN_FINDINGS: tuple[str, ...] = ("Cardiomegaly", "Effusion", "Mass", "Nodule", "Pneumothorax", "Consolidation")
"""Labels this generator draws, in the order of the model's label list."""

SUMMARY_LEVELS: tuple[float, ...] = (0.0, 0.10, 0.25, 0.50, 0.75, 0.90, 1.0)
"""Levels of the summaries below; the first and last value of each summary bound what is drawn."""

NO_FINDING_SHARE = 0.45
"""Share of pictures without a finding (ChestX-ray14: 54 %; lower here so that few pictures teach more)."""

FINDINGS_PER_ABNORMAL_PICTURE: tuple[float, ...] = (0.50, 0.36, 0.14)
"""Probability of one, two and three findings in an abnormal picture: prevalence of each finding is about 15 %."""

NOMINAL_LUNG_HALF_WIDTH_PX = 380.0
"""Half the inner width of an average chest in the 1024 px frame: boxes' distances from the midline over this width
give places that move with the drawn chest."""


@dataclass(frozen=True)
class BoxSummary:
    """Percentiles (at `SUMMARY_LEVELS`) of one finding's boxes in the 1024 px frame, in px.

    Attributes
    ----------
    width_px, height_px
        Box sides. The extremes are set by us: they keep a lesion inside a lung and a nodule (< 30 mm) apart from a
        mass.
    midline_distance_px
        ``|x centre - 512|``.
    centre_y_px
        y of the box centre.
    aspect_log_sd
        Standard deviation of log(height / width) for findings whose sides are drawn from one size.
    """

    width_px: tuple[float, ...]
    height_px: tuple[float, ...]
    midline_distance_px: tuple[float, ...]
    centre_y_px: tuple[float, ...]
    aspect_log_sd: float


BOX_SUMMARIES: dict[str, BoxSummary] = {
    "Nodule": BoxSummary(
        (44, 48, 55, 70, 87, 98, 102),
        (44, 46, 56, 68, 80, 98, 102),
        (100, 129, 184, 249, 296, 335, 350),
        (220, 297, 361, 478, 621, 713, 740),
        0.12,
    ),
    # the file's lower half (76, 96, 120 px) is lifted: a mass is larger than 30 mm, about 110 px here
    "Mass": BoxSummary(
        (112, 114, 120, 135, 175, 270, 320),
        (112, 116, 124, 145, 200, 290, 340),
        (70, 77, 122, 198, 249, 294, 310),
        (260, 316, 379, 456, 540, 616, 660),
        0.15,
    ),
    "Consolidation": BoxSummary(
        (150, 164, 192, 228, 264, 330, 360),
        (140, 156, 193, 270, 380, 440, 480),
        (90, 107, 165, 192, 222, 260, 280),
        (360, 415, 480, 550, 620, 696, 720),
        0.25,
    ),
    "Effusion": BoxSummary(
        (90, 101, 157, 208, 265, 317, 330),
        (84, 89, 158, 277, 400, 480, 520),
        (180, 194, 231, 286, 321, 362, 380),
        (400, 428, 485, 574, 660, 729, 760),
        0.5,
    ),
    "Pneumothorax": BoxSummary(
        (70, 87, 130, 201, 262, 317, 340),
        (80, 95, 130, 206, 299, 530, 600),
        (140, 151, 178, 204, 239, 333, 350),
        (140, 149, 186, 259, 446, 624, 650),
        0.5,
    ),
    "Cardiomegaly": BoxSummary(
        (400, 413, 445, 478, 512, 548, 580),
        (290, 304, 344, 382, 416, 452, 480),
        (10, 27, 45, 76, 105, 136, 150),
        (480, 503, 538, 579, 631, 662, 690),
        0.15,
    ),
}
"""Fitted summaries by label; Cardiomegaly's serve the tests, the heart itself follows the cardiothoracic ratio."""


def draw_from_summary(summary: tuple[float, ...], rng: np.random.Generator) -> float:
    """Draw one value (px) from a distribution given by percentiles at `SUMMARY_LEVELS`."""
    return float(np.interp(rng.random(), SUMMARY_LEVELS, summary))


def draw_findings(rng: np.random.Generator) -> tuple[str, ...]:
    """Draw the findings of one picture: a possibly empty subset of `DRAWN_FINDINGS`, in that order."""
    return () if rng.random() < NO_FINDING_SHARE else draw_abnormal_findings(rng)


def draw_abnormal_findings(rng: np.random.Generator) -> tuple[str, ...]:
    """Draw one to three of `DRAWN_FINDINGS`, in that order."""
    count = 1 + int(rng.choice(len(FINDINGS_PER_ABNORMAL_PICTURE), p=FINDINGS_PER_ABNORMAL_PICTURE))
    chosen = set(rng.choice(len(DRAWN_FINDINGS), size=count, replace=False).tolist())
    return tuple(label for index, label in enumerate(DRAWN_FINDINGS) if index in chosen)
