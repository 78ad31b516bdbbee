"""Real label maps: every lumbar junction found, on the true contact line where known, absent where bone is cut."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from imaging.errors import InputRefusedError
from imaging.files import read_image_file, read_labels
from imaging.geometry import to_world
from segmentation.anatomy import LandmarkName
from segmentation.assemble import build_spine
from segmentation.labels import import_labels
from segmentation.spine import Segmentation, Spine

pytestmark = pytest.mark.data
CUBE = np.ones((3, 3, 3))


def lumbar(seg: Segmentation, names: tuple[str, ...]) -> Spine:
    """The spine of some levels only: quicker."""
    keep = [label for label, name in seg.levels.items() if name in names]
    return build_spine(replace(seg, labels=np.where(np.isin(seg.labels, keep), seg.labels, 0).astype(np.uint8),
                               levels={label: seg.levels[label] for label in keep}))


def test_junction_lies_on_the_labelled_contact_line(data: Path) -> None:
    parts, grid = read_labels(data / "labels" / "tptbox_l3_subreg.nii.gz")
    spine = build_spine(import_labels(data / "labels" / "tptbox_l3_vert.nii.gz", "tptbox"))
    vertebra = spine.vertebra("L3")
    assert vertebra is not None
    for side, transverse, articular in (("left", 43, 45), ("right", 44, 46)):
        one, two = parts == transverse, parts == articular
        contact = (one & ndimage.binary_dilation(two, CUBE)) | (two & ndimage.binary_dilation(one, CUBE))
        k, j, i = np.nonzero(contact & ~ndimage.binary_erosion(parts > 0))
        line = to_world(grid, np.column_stack([i, j, k]).astype(float))
        junction = vertebra.landmarks[LandmarkName(f"sap_tp_junction_{side}")].position
        assert np.linalg.norm(line - junction, axis=1).min() < 2.6


@pytest.mark.parametrize("case", ["s0328", "s0012"])
def test_every_lumbar_junction_is_found(data: Path, case: str) -> None:
    seg = import_labels(data / "labels" / f"{case}_totalsegmentator.nii.gz", "totalsegmentator")
    assert seg.numbering.tier.value == "A"
    spine = lumbar(seg, ("L1", "L2", "L3", "L4", "L5", "S1"))
    for vertebra in spine.vertebrae:
        for side in ("left", "right"):
            assert LandmarkName(f"sap_tp_junction_{side}") in vertebra.landmarks, (vertebra.name, side)
    assert len(spine.nerves) == 12


def test_cut_transverse_processes_have_no_tip(data: Path) -> None:
    scan = read_image_file(data / "ct" / "verse014.nii.gz")
    seg = import_labels(data / "labels" / "verse014_verse.nii.gz", "verse", scan)
    assert seg.numbering.tier.value == "D"
    spine = lumbar(seg, ("L3", "L4"))
    for vertebra in spine.vertebrae:
        assert vertebra.touches_edge
        assert LandmarkName.TP_TIP_LEFT not in vertebra.landmarks
        assert LandmarkName.SAP_TP_JUNCTION_LEFT in vertebra.landmarks
        assert LandmarkName.SAP_TP_JUNCTION_RIGHT in vertebra.landmarks


def test_labels_of_a_real_scan_mirrored_are_refused(data: Path) -> None:
    scan = read_image_file(data / "ct" / "ts_example.nii.gz")
    labels, grid = read_labels(data / "labels" / "ts_example_totalsegmentator.nii.gz")
    import_labels((labels, grid), "totalsegmentator", scan)
    mirrored = np.roll(labels[:, :, ::-1], 9, axis=2)
    with pytest.raises(InputRefusedError):
        import_labels((mirrored, grid), "totalsegmentator", scan)
