"""Averaged weights to ONNX files and their description.

Run ``python -m segmentation.training.export --cache CACHE --out segmentation/data``. The graph is written node by
node. Convolution weights are stored in half precision and cast to single precision when the file is loaded; all
arithmetic is single precision. Growing an image by nearest neighbours and then convolving it is written as the one
transposed convolution that it equals, which takes a quarter of the time; its kernel is derived from the stored one when
the file is loaded.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from segmentation.training.contract import INSTANCE, SPECS, NetSpec

__all__ = ["export", "graph_of", "weights_of"]

OPSET = 17

# Per axis: what a kernel of three taps on an image grown twofold is as a transposed kernel of four taps on the image.
_GROWN_TAPS = np.array([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]], np.float32)


class _Writer:
    """Collects nodes and weights; every method returns the name of its output."""

    def __init__(self, weights: dict[str, np.ndarray]) -> None:
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.initialisers: list[onnx.TensorProto] = []

    def add(self, kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(self, name: str, *, half: bool = False) -> str:
        value = self.weights[name]
        if not half:
            self.initialisers.append(numpy_helper.from_array(value, name))
            return name
        self.initialisers.append(numpy_helper.from_array(value.astype(np.float16), f"{name}.half"))
        return self.add("Cast", [f"{name}.half"], name, to=TensorProto.FLOAT)

    def block(self, x: str, prefix: str, dilation: int = 1) -> str:
        kernel = self.constant(f"{prefix}.0.weight", half=True)
        out = self.add(
            "Conv", [x, kernel], f"{prefix}.conv", kernel_shape=[3] * 3, pads=[dilation] * 6, dilations=[dilation] * 3
        )
        return self.normalised(out, prefix)

    def normalised(self, x: str, prefix: str) -> str:
        scale, shift = self.constant(f"{prefix}.1.weight"), self.constant(f"{prefix}.1.bias")
        out = self.add("InstanceNormalization", [x, scale, shift], f"{prefix}.norm", epsilon=1e-5)
        return self.add("LeakyRelu", [out], f"{prefix}.act", alpha=0.01)

    def integers(self, name: str, values: list[int]) -> str:
        self.initialisers.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def growing_block(self, x: str, skip: str, prefix: str) -> str:
        """The block over the twofold grown `x` joined to `skip`, its first convolution in two parts."""
        kernel = self.constant(f"{prefix}.0.weight", half=True)
        out, both = self.weights[f"{prefix}.0.weight"].shape[:2]
        deep = both - self.weights[f"{prefix}.1.weight"].shape[0]
        axis, end = self.integers(f"{prefix}.axis", [1]), self.integers(f"{prefix}.end", [both])
        first, split = self.integers(f"{prefix}.first", [0]), self.integers(f"{prefix}.split", [deep])
        of_deep = self.add("Slice", [kernel, first, split, axis], f"{prefix}.deep")
        of_skip = self.add("Slice", [kernel, split, end, axis], f"{prefix}.side")
        flat = self.add("Reshape", [of_deep, self.integers(f"{prefix}.flat.shape", [out, deep, 27])], f"{prefix}.flat")
        taps = self.add("MatMul", [flat, "grown_taps"], f"{prefix}.taps")
        cubes = self.integers(f"{prefix}.cubes.shape", [out, deep, 4, 4, 4])
        cubes = self.add("Reshape", [taps, cubes], f"{prefix}.cubes")
        turned = self.add("Transpose", [cubes], f"{prefix}.turned", perm=[1, 0, 2, 3, 4])
        grown = self.add("ConvTranspose", [x, turned], f"{prefix}.grown", kernel_shape=[4] * 3, strides=[2] * 3,
                         pads=[1] * 6)
        beside = self.add("Conv", [skip, of_skip], f"{prefix}.beside", kernel_shape=[3] * 3, pads=[1] * 6)
        return self.normalised(self.add("Add", [grown, beside], f"{prefix}.conv"), prefix)


def graph_of(weights: dict[str, np.ndarray], spec: NetSpec) -> onnx.ModelProto:
    """Write the U-Net of :class:`segmentation.training.nets.UNet` as an ONNX model.

    Parameters
    ----------
    weights : dict of ndarray, float32
        The net's state.
    """
    writer = _Writer(weights)
    levels = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("down."))
    taps = np.kron(np.kron(_GROWN_TAPS, _GROWN_TAPS), _GROWN_TAPS).T
    writer.initialisers.append(numpy_helper.from_array(np.ascontiguousarray(taps), "grown_taps"))
    x, skips = "image", []
    for level in range(levels):
        if level:
            x = writer.add("MaxPool", [x], f"down.{level}.pool", kernel_shape=[2] * 3, strides=[2] * 3)
        x = writer.block(x, f"down.{level}.0")
        x = writer.block(x, f"down.{level}.1")
        if level == levels - 1:
            x = writer.block(x, f"down.{level}.2", dilation=2)
        skips.append(x)
    skips.pop()
    for stage in range(levels - 1):
        x = writer.growing_block(x, skips.pop(), f"up.{stage}.0")
        x = writer.block(x, f"up.{stage}.1")
    head = [writer.constant("head.weight"), writer.constant("head.bias")]
    writer.add("Conv", [x, *head], "logits", kernel_shape=[1] * 3)
    sides: list[str | int] = list(spec.patch) if spec.name == INSTANCE.name else ["D", "H", "W"]
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, spec.channels, *sides])]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, len(spec.classes), *sides])]
    graph = helper.make_graph(writer.nodes, spec.name, inputs, outputs, writer.initialisers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="nerveplan")
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model


def weights_of(path: Path) -> dict[str, np.ndarray]:
    """The net's state, float32, read back from a file that :func:`graph_of` made."""
    stored = {value.name: numpy_helper.to_array(value) for value in onnx.load(path).graph.initializer}
    named = {name.removesuffix(".half"): value.astype(np.float32) for name, value in stored.items()}
    return {name: value for name, value in named.items() if name.endswith((".weight", ".bias"))}


def export(cache: Path, out: Path) -> None:
    """Write every net with a checkpoint, and ``models.toml``."""
    out.mkdir(parents=True, exist_ok=True)
    sections = ["# Written by segmentation.training.export; see MODEL_CARD.md for data, licences and limits.\n"]
    for spec in SPECS.values():
        checkpoint = cache / f"{spec.name}.pt"
        if not checkpoint.exists():
            continue
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        weights = {name: value.float().numpy() for name, value in state["average"].items()}
        path = out / f"{spec.name}.onnx"
        path.write_bytes(graph_of(weights, spec).SerializeToString(deterministic=True))
        sections.append(_section(spec, path, int(state["iterations"])))
    (out / "models.toml").write_text("\n".join(sections), encoding="utf-8")


def _section(spec: NetSpec, path: Path, iterations: int) -> str:
    classes = ", ".join(f'"{name}"' for name in spec.classes)
    lines = [
        f"[{spec.name}]",
        f'file = "{path.name}"',
        f'sha256 = "{hashlib.sha256(path.read_bytes()).hexdigest()}"',
        f"spacing_mm = {spec.spacing}",
        f"patch = {list(spec.patch)}  # (z, y, x) voxels in training",
        f"anchor = {list(spec.anchor)}  # voxel (z, y, x) of the given centre",
        f"channels = {spec.channels}",
        f"classes = [{classes}]",
        f"iterations = {iterations}",
        f"date = {datetime.datetime.now(datetime.UTC).date().isoformat()}",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("segmentation/data"))
    args = parser.parse_args()
    export(args.cache, args.out)


if __name__ == "__main__":
    main()
