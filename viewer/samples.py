"""napari's sample data contribution: the synthetic lumbar CT that ships with nerveplan."""

from __future__ import annotations

from sample_data import lumbar_ct_path
from viewer.layers import LayerData
from viewer.readers import read_scan

__all__ = ["lumbar_ct"]


def lumbar_ct() -> list[LayerData]:
    """The phantom's scan, ready to be planned from the review panel; no patient was involved."""
    return [(data, {**style, "name": "synthetic lumbar CT"}, kind)
            for data, style, kind in read_scan(str(lumbar_ct_path()))]
