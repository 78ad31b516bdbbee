"""Contact sheets for docs/: every picture of a report on one page, so that a wrong target is seen in one second.

``python -m benchmarks.contact_sheets`` makes them from the plans that `make validate` left in ``out/validate``.
"""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

from PIL import Image, ImageDraw

from benchmarks.cases import DOCS, work_folder

__all__ = ["contact_sheet", "main"]

_CT = "Scan: TotalSegmentator dataset, Wasserthal et al., CC BY 4.0."
_SHEETS = {"s0015": _CT, "s0028": _CT, "s0015_rf": _CT, "phantom": "Synthetic phantom."}

_PICTURE = re.compile(r'src="data:image/jpeg;base64,([^"]+)"')


def contact_sheet(report: Path, name: str, credit: str, *, columns: int = 6, tile: int = 300,
                  chosen: slice = slice(None)) -> Path:
    """Tile the pictures of one report.

    Parameters
    ----------
    report : path
        A ``report.html``.
    name : str
        File name in ``docs/images`` without suffix.
    credit : str
        Printed under the pictures: whose scan it is and its licence.
    columns, tile : int
        Pictures per row and the size of each, pixels.
    chosen : slice
        Which of the report's pictures; the first is the overview, then six per target.

    Returns
    -------
    path
        The JPEG that was written.
    """
    codes = _PICTURE.findall(report.read_text("utf-8"))[chosen]
    pictures = [Image.open(io.BytesIO(base64.b64decode(code))) for code in codes]
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
    """Make every sheet, and the picture of the README."""
    for name, credit in _SHEETS.items():
        print(contact_sheet(work_folder() / name / "report.html", f"sheet_{name}", credit))
    print(contact_sheet(work_folder() / "s0015" / "report.html", "readme", _CT, columns=3, tile=400,
                        chosen=slice(43, 49)))


if __name__ == "__main__":
    main()
