"""The DenseNet-121 weights that torchxrayvision publishes: what their 18 outputs mean and where they are cut.

The numbers are those of the library's ``models.py`` (Cohen et al., MIDL 2022, Apache-2.0): every network has all 18
outputs, each set of weights was trained on some of them, and those have an operating threshold.
"""

from __future__ import annotations

from dataclasses import dataclass

_FILE_END = "-densenet121-d121-tw-lr001-rot45-tr15-sc15-seed0-best.pt"

_OPERATING_THRESHOLDS = """
all          nih           pc           chex         rsna         mimic_nb     mimic_ch     output
0.07422872   0.039117552   0.031012505  0.1988969    -            0.08558747   0.09121389   Atelectasis
0.038290843  0.0034529066  0.013347598  0.05710573   -            0.011884617  0.010573786  Consolidation
0.09814756   0.11396341    0.081435576  -            -            -            -            Infiltration
0.0098118475 0.0057298196  0.001262615  0.0531293    -            0.0040595434 0.005023008  Pneumothorax
0.023601074  0.00045666535 0.002587246  0.1435217    -            0.010733786  0.003698257  Edema
0.0022490358 0.0018880932  0.0035944257 -            -            -            -            Emphysema
0.010060724  0.012037827   0.0023071    -            -            -            -            Fibrosis
0.103246614  0.038744126   0.055412333  0.27212676   -            0.118761964  0.08001232   Effusion
0.056810737  0.0037213727  0.044385884  0.07749717   0.13486601   0.022924708  0.037242252  Pneumonia
0.026791653  0.014730946   0.042766232  -            -            -            -            Pleural_Thickening
0.050318155  0.016149804   0.043258056  0.19712369   -            0.06358637   0.05006329   Cardiomegaly
0.023985857  0.054241467   0.037629247  -            -            -            -            Nodule
0.01939503   0.037198864   0.005658899  -            -            -            -            Mass
0.042889766  0.0004403434  0.0091741895 -            -            -            -            Hernia
0.053369623  -             -            0.09932402   -            0.022143636  0.019866971  Lung Lesion
0.035975814  -             0.026507627  0.09273402   -            0.017476924  0.03823637   Fracture
0.20204692   -             -            0.3270967    0.13511065   0.1258702    0.11303808   Lung Opacity
0.05015312   -             -            0.10888247   -            0.014020768  0.0069147074 Enlarged Cardiomediastinum
"""
"""One line per output, in the order of the classifier's rows; a dash where the weights were not trained on it."""

_SETS, *_ROWS = (line.split(maxsplit=7) for line in _OPERATING_THRESHOLDS.strip().splitlines())

OUTPUTS: tuple[str, ...] = tuple(row[-1] for row in _ROWS)
"""Names in the order of the classifier's rows; another order than ours."""


@dataclass(frozen=True)
class WeightSet:
    """One published file of weights."""

    file_start: str
    """Beginning of the file's name, up to ``-densenet121``."""
    trained_on: str
    """Data sets, in words."""
    seen_official_test: bool
    """Whether images of ChestX-ray14's official test list are among them."""
    op_threshs: tuple[float | None, ...]
    """Operating threshold of each of ``OUTPUTS``, 0..1 of the sigmoid; None where the output was never trained."""

    @property
    def file_name(self) -> str:
        """Name under which the authors publish the file."""
        return self.file_start + _FILE_END


_FILES: dict[str, tuple[str, str, bool]] = {
    "all": (
        "nih-pc-chex-mimic_ch-google-openi-kaggle",
        "ChestX-ray14, PadChest, CheXpert, MIMIC-CXR, Google's labels of ChestX-ray14, OpenI and RSNA together",
        True,
    ),
    "nih": ("nih", "ChestX-ray14, a random split of its own", True),
    "pc": ("pc", "PadChest", False),
    "chex": ("chex", "CheXpert", False),
    "rsna": ("kaggle", "the RSNA pneumonia challenge, whose images are ChestX-ray14's", True),
    "mimic_nb": ("mimic_nb", "MIMIC-CXR, labels of NegBio", False),
    "mimic_ch": ("mimic_ch", "MIMIC-CXR, labels of CheXpert's labeller", False),
}

WEIGHT_SETS: dict[str, WeightSet] = {
    name: WeightSet(*_FILES[name], tuple(None if row[column] == "-" else float(row[column]) for row in _ROWS))
    for column, name in enumerate(_SETS[:-1])
}
"""By the library's own names, ``densenet121-res224-`` left out."""


def weight_set_of(file_name: str) -> str | None:
    """Return the name of the weight set that is published under this file name; None where none is."""
    return next((name for name, weight_set in WEIGHT_SETS.items() if weight_set.file_name == file_name), None)
