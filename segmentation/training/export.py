"""Averaged weights to ONNX files and their description.

Run ``python -m segmentation.training.export --cache CACHE --out segmentation/data``. The graph is written node by
node, so it holds nothing but Conv, InstanceNormalization, LeakyRelu, MaxPool, Resize, Concat and Cast. Convolution
weights are stored in half precision and cast to single precision when the file is loaded; all arithmetic is single
precision.
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

__all__ = ["export", "graph_of"]

OPSET = 17


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
        scale, shift = self.constant(f"{prefix}.1.weight"), self.constant(f"{prefix}.1.bias")
        out = self.add("InstanceNormalization", [out, scale, shift], f"{prefix}.norm", epsilon=1e-5)
        return self.add("LeakyRelu", [out], f"{prefix}.act", alpha=0.01)


def graph_of(weights: dict[str, np.ndarray], spec: NetSpec) -> onnx.ModelProto:
    """Write the U-Net of :class:`segmentation.training.nets.UNet` as an ONNX model.

    Parameters
    ----------
    weights : dict of ndarray, float32
        The net's state.
    """
    writer = _Writer(weights)
    levels = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("down."))
    writer.initialisers.append(numpy_helper.from_array(np.array([1, 1, 2, 2, 2], np.float32), "twice"))
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
        grown = writer.add(
            "Resize",
            [x, "", "twice"],
            f"up.{stage}.grow",
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
        x = writer.add("Concat", [grown, skips.pop()], f"up.{stage}.cat", axis=1)
        x = writer.block(x, f"up.{stage}.0")
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
