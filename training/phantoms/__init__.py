"""Drawings of chests in ChestX-ray14's own layout, with known findings and boxes."""
