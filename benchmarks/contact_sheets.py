"""Contact sheets for docs/: every picture of a report on one page, so that a wrong target is seen in one second.

``python -m benchmarks.contact_sheets`` makes them from the plans that `make validate` left in ``out/validate``, and the
pages of five targets each of two scans: down the barrel, the needle's plane and the bones. Plans of other procedures
have no report until `nerveplan report` draws it.
"""

from __future__ import annotations

import argparse
import base64
import io
import re
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from benchmarks.cases import DOCS, work_folder

__all__ = ["contact_sheet", "main"]

_CT = "Scan: TotalSegmentator dataset, Wasserthal et al., CC BY 4.0."
_SHEETS = {"s0015": _CT, "s0028": _CT, "s0015_lumbar-medial-branch-rf": _CT, "phantom": "Synthetic phantom."}
_FIVE = ("s0015", "s0028")
_PER_TARGET = 6  # down the barrel, AP, lateral, axial, needle plane, bones
_SHOWN = (0, 4, 5)

_PICTURE = re.compile(r'src="data:image/jpeg;base64,([^"]+)"')
_SECTION = re.compile(r'<section class="target.*?</section>', re.S)


def _pictures(html: str) -> list[Image.Image]:
    return [Image.open(io.BytesIO(base64.b64decode(code))) for code in _PICTURE.findall(html)]


def _targets(report: Path) -> list[list[Image.Image]]:
    """The pictures of every target with a needle, in the report's order."""
    found = [_pictures(section) for section in _SECTION.findall(report.read_text("utf-8"))]
    return [pictures for pictures in found if len(pictures) == _PER_TARGET]


def contact_sheet(pictures: Sequence[Image.Image], name: str, credit: str, *, columns: int, tile: int) -> Path:
    """Tile pictures.

    Parameters
    ----------
    name : str
        File name in ``docs/images`` without suffix.
    credit : str
        Printed under the pictures: whose scan it is and its licence.
    columns, tile : int
        Pictures per row and the size of each, pixels.

    Returns
    -------
    path
        The JPEG that was written.
    """
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * tile, rows * tile + 22), "black")
    for n, picture in enumerate(pictures):
        scale = tile / max(picture.size)
        small = picture.resize((int(picture.width * scale), int(picture.height * scale)), Image.Resampling.LANCZOS)
        sheet.paste(small, ((n % columns) * tile, (n // columns) * tile))
    ImageDraw.Draw(sheet).text((6, rows * tile + 5), f"{credit} Research use only.", fill="white")
    path = DOCS / "images" / f"{name}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, quality=80)
    return path


def main() -> None:
    """Make the sheets of the plans that are there, the pages of five targets and the picture of the README."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="PLAN", help=f"of {', '.join(_SHEETS)}; all of them")
    named = parser.parse_args().names or list(_SHEETS)
    unknown = [name for name in named if name not in _SHEETS]
    if unknown:
        parser.error(f"no sheet of {', '.join(unknown)}; say {', '.join(_SHEETS)}")
    for name in named:
        targets = _targets(work_folder() / name / "report.html")
        credit = _SHEETS[name]
        print(contact_sheet([p for t in targets for p in t], f"sheet_{name}", credit, columns=_PER_TARGET, tile=240))
        if name in _FIVE:
            five = targets[::max(len(targets) // 5, 1)][:5]
            print(contact_sheet([t[n] for t in five for n in _SHOWN], f"five_targets_{name}", credit, columns=3,
                                tile=400))
        if name == "s0015":
            print(contact_sheet(targets[7], "readme", credit, columns=3, tile=400))


if __name__ == "__main__":
    main()
