"""The pictures of docs/viewer.md, taken anew from a real window on the synthetic study.

``python -m benchmarks.viewer_pictures [PLAN_FOLDER]``; without a folder it plans the study that ships with the package.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from qtpy.QtWidgets import QDialog, QWidget

from benchmarks.cases import DOCS
from benchmarks.dragging import drag_to_canal
from benchmarks.stage import Stage, stage
from segmentation.anatomy import LandmarkName
from viewer.anatomy_words import landmark_title
from viewer.approval import ApproveDialog
from viewer.confirm import ConfirmDialog
from viewer.planes import PlaneName

__all__ = ["main", "take_pictures"]

_ROW = 6
_QUALITY = 88
_LANDMARK = LandmarkName.SAP_TP_JUNCTION_LEFT
_MOVED_MM = np.array([0.0, 0.0, 2.0])


def _save(widget: QWidget, out: Path, name: str) -> None:
    widget.grab().save(str(out / f"viewer_{name}.jpg"), "JPG", _QUALITY)


def take_pictures(on: Stage, folder: Path, out: Path) -> None:
    """Work in a plan folder as a reviewer would and keep a picture of each step the page tells of."""
    panel, hand = on.panel, on.hand
    on.open(folder)
    on.sign_in("Dr A. Example", "radiologist")
    hand.choose_row(panel.table.tree, _ROW)
    panel.scene.look_from_behind()
    on.repose()
    _save(hand.main, out, "window")
    drag_to_canal(on, np.empty((0, 3)))
    on.repose()
    _save(hand.main, out, "limit")

    def fill(dialog: QDialog) -> None:
        assert isinstance(dialog, ApproveDialog)
        for line in dialog.reasons.values():
            hand.write(line, "accepted after a look at the images")
        target = panel.session.target
        assert target is not None
        hand.write(dialog.side, target.side.other.value)
        _save(dialog, out, "approve")

    hand.answer(ApproveDialog, fill)
    panel.decisions.approve()
    on.undo()
    _drag_landmark(on)
    on.repose()
    _save(hand.main, out, "anatomy")


def _drag_landmark(on: Stage) -> None:
    """Choose a landmark of the bone at the tip and drag its ring in the coronal view."""
    panel, hand, target = on.panel, on.hand, on.panel.session.target
    assert target is not None
    panel.session.look_at(target.carrier.body_center)
    hand.open_tab(panel.tabs, panel.anatomy)
    hand.choose(panel.anatomy.landmark, landmark_title(_LANDMARK))
    on.repose()

    def mean_it(dialog: QDialog) -> None:
        assert isinstance(dialog, ConfirmDialog)
        hand.click(dialog.act_button)

    at = panel.session.crosshair
    hand.answer(ConfirmDialog, mean_it)
    hand.drag(panel.flat.ortho.views[PlaneName.CORONAL], at, (at + _MOVED_MM)[None], lambda: False)
    on.settle("placing the landmark")


def main() -> int:
    """Take the pictures; they are to be looked at before they are kept."""
    with tempfile.TemporaryDirectory() as place, stage() as on:
        folder = Path(place) / "phantom"
        if len(sys.argv) > 1:
            shutil.copytree(sys.argv[1], folder)
        else:
            from planner.pipeline import plan_study
            from sample_data import lumbar_ct_path
            plan_study(lumbar_ct_path(), folder, report=False)
        take_pictures(on, folder, DOCS / "images")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
