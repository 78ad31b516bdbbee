"""Whether the values of a CT can be Hounsfield units: what follows measures skin, gas and bone by them."""

from __future__ import annotations

import numpy as np

from imaging.findings import Finding, FindingCode, Severity
from imaging.volume import Volume

__all__ = ["hounsfield_findings"]

_PADDING_HU = -1100.0
_SAMPLES = 2_000_000
_DENSE_HU, _DENSE_SHARE = 700.0, 0.2
"""Only compact bone and metal are denser: a few percent of any scan of a trunk."""
_SOFT_HU, _SOFT_SHARE = 250.0, 0.03
"""Fat, muscle, organs and marrow lie between minus and plus this, and are never nearly absent."""


def hounsfield_findings(volume: Volume) -> list[Finding]:
    """A blocking finding where the values of a CT cannot be Hounsfield units.

    Parameters
    ----------
    volume : Volume
        Of any modality; only CT is judged. About two million voxels are looked at.
    """
    if volume.modality != "CT":
        return []
    step = max(1, int(np.cbrt(volume.array.size / _SAMPLES)))
    part = volume.array[::step, ::step, ::step]
    values = part.astype(np.float32) * np.float32(volume.slope) + np.float32(volume.intercept)
    values = values[values > _PADDING_HU]
    if not values.size:
        return []
    dense, soft = float((values > _DENSE_HU).mean()), float((np.abs(values) < _SOFT_HU).mean())
    if dense <= _DENSE_SHARE and soft >= _SOFT_SHARE:
        return []
    what = (f"{100 * dense:.0f} % of the scan read more than {_DENSE_HU:.0f}, as only dense bone does"
            if dense > _DENSE_SHARE else f"only {100 * soft:.1f} % of the scan read as soft tissue does")
    return [Finding(FindingCode.IMPLAUSIBLE_VALUES, Severity.BLOCK,
                    f"the values of this CT cannot be Hounsfield units ({what}): its rescale is wrong or was lost, so "
                    "skin, air and bone cannot be told apart; fetch the original series")]
