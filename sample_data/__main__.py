"""Command line: ``python -m sample_data --variant standard --out DIR``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .dicom import write_series
from .phantom import PhantomSpec, Variant, build_phantom
from .truth import write_masks, write_truth


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sample_data", description="Write a synthetic lumbar CT phantom.")
    parser.add_argument("--variant", choices=[v.value for v in Variant], default=Variant.STANDARD.value)
    parser.add_argument("--out", type=Path, required=True, help="folder; gets lumbar_ct/ and lumbar_ct_truth.json")
    parser.add_argument("--seed", type=int, default=0, help="seed of individual differences, textures and noise")
    parser.add_argument("--spacing", type=float, nargs=3, metavar=("Z", "Y", "X"), default=PhantomSpec.spacing_mm)
    parser.add_argument("--levels", nargs=2, metavar=("UPPER", "LOWER"), help="cut the field of view to these levels")
    parser.add_argument("--encoding", choices=["uncompressed", "jpeg-ls"], default="uncompressed")
    parser.add_argument("--masks", action="store_true", help="also write labels and structures as NIfTI")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Build a phantom and write it; returns the exit code."""
    options = _parser().parse_args(arguments)
    z, y, x = options.spacing
    levels = None if options.levels is None else (options.levels[0], options.levels[1])
    spec = PhantomSpec(options.seed, (z, y, x), Variant(options.variant), levels)
    phantom = build_phantom(spec)
    paths = write_series(phantom, options.out / "lumbar_ct", options.encoding)
    write_truth(phantom, options.out / "lumbar_ct_truth.json")
    if options.masks:
        write_masks(phantom, options.out)
    sys.stdout.write(f"{len(paths)} slices in {options.out / 'lumbar_ct'}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
