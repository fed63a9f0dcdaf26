"""The fourteen findings of ChestX-ray14, in the order of every output, row and bundle of this project."""

from __future__ import annotations

LABELS: tuple[str, ...] = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)
"""Order of Wang et al. (CVPR 2017) and of every public 14-output checkpoint (arnoweng, zoogzog, Zech)."""
