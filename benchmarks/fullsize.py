"""What a full-size network would cost here: an nnU-Net graph with random weights against the built-in engine.

``python -m benchmarks.fullsize [SCAN] [--patches N]``. The graph is nnU-Net's plain convolutional U-Net at its usual
full-resolution size (six stages of 32 to 320 features, two convolutions each, patches of 128 voxels cubed), one input
channel, 26 classes. Its weights are random: time does not depend on them. A few patches are timed and multiplied by the
number of patches that a sliding window with half overlap needs at 1.5 mm; test-time mirroring, which multiplies it by
eight, and resampling are left out. Both run on the same cores in the same run. Where other work shares them, compare
processor time: all threads together, on two free cores at least half of it by the clock.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from dataclasses import dataclass, field

import numpy as np
import onnxruntime
from onnx import ModelProto, TensorProto, helper, numpy_helper

from benchmarks.segmentation import run
from imaging.volume import Volume
from segmentation.assemble import build_spine

PATCH, FEATURES, CLASSES, SPACING_MM = 128, (32, 64, 128, 256, 320, 320), 26, 1.5


@dataclass
class _Graph:
    """Nodes and random weights of a network under construction."""

    nodes: list[object] = field(default_factory=list)
    weights: list[object] = field(default_factory=list)

    def weight(self, *shape: int) -> str:
        name = f"w{len(self.weights)}"
        values = np.random.default_rng(len(self.weights)).normal(0.0, 0.05, shape).astype(np.float32)
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def node(self, kind: str, inputs: list[str], **attributes: object) -> str:
        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def block(self, x: str, before: int, after: int, stride: int) -> str:
        """Convolution of 3, instance norm, leaky rectifier."""
        x = self.node("Conv", [x, self.weight(after, before, 3, 3, 3), self.weight(after)], kernel_shape=[3] * 3,
                      strides=[stride] * 3, pads=[1] * 6)
        x = self.node("InstanceNormalization", [x, self.weight(after), self.weight(after)])
        return self.node("LeakyRelu", [x], alpha=0.01)


def full_size_graph() -> ModelProto:
    """nnU-Net's plain U-Net for one channel, with random weights."""
    graph, x, before, skips = _Graph(), "x", 1, []
    for stage, features in enumerate(FEATURES):
        x = graph.block(x, before, features, 1 if stage == 0 else 2)
        x = graph.block(x, features, features, 1)
        skips.append(x)
        before = features
    for features, skip in zip(FEATURES[-2::-1], skips[-2::-1], strict=True):
        x = graph.node("ConvTranspose", [x, graph.weight(before, features, 2, 2, 2)], kernel_shape=[2] * 3,
                       strides=[2] * 3)
        x = graph.block(graph.node("Concat", [x, skip], axis=1), 2 * features, features, 1)
        x = graph.block(x, features, features, 1)
        before = features
    x = graph.node("Conv", [x, graph.weight(CLASSES, before, 1, 1, 1)], kernel_shape=[1] * 3)
    shape = [1, None, PATCH, PATCH, PATCH]
    model = helper.make_graph(
        graph.nodes, "full size", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, *shape[2:]])],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, [1, CLASSES, *shape[2:]])], graph.weights)
    return helper.make_model(model, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def patches_of(volume: Volume) -> int:
    """Places of a sliding window with half overlap over the whole scan at `SPACING_MM`."""
    size = np.array(volume.grid.shape[::-1]) * volume.grid.spacing / SPACING_MM
    return int(np.prod(np.maximum(np.ceil((size - PATCH) / (PATCH / 2)) + 1, 1)))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan", nargs="?", default="s0015")
    parser.add_argument("--patches", type=int, default=2)
    arguments = parser.parse_args()
    outcome = run(arguments.scan)
    started, busy = time.perf_counter(), time.process_time()
    build_spine(outcome.segmentation, outcome.volume)
    landmarks, landmarks_busy = time.perf_counter() - started, time.process_time() - busy
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6

    model = full_size_graph().SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    patch = np.random.default_rng(0).normal(size=(1, 1, PATCH, PATCH, PATCH)).astype(np.float32)
    times, busy_times = [], []
    for _ in range(arguments.patches):
        started, busy = time.perf_counter(), time.process_time()
        session.run(None, {"x": patch})
        times.append(time.perf_counter() - started)
        busy_times.append(time.process_time() - busy)
    count, mine = patches_of(outcome.volume), outcome.processor_seconds + landmarks_busy
    print(f"{arguments.scan} on {os.cpu_count()} cores (load {os.getloadavg()[0]:.1f}): the built-in engine "
          f"{outcome.processor_seconds:.1f} s of processor time ({outcome.seconds:.1f} by the clock), frames, "
          f"landmarks and structures {landmarks_busy:.1f} s ({landmarks:.1f}), peak memory {peak:.2f} GB")
    print(f"full-size nnU-Net graph, {len(model) / 1e6:.0f} MB of random weights: {min(busy_times):.1f} s of processor "
          f"time a patch ({min(times):.1f} by the clock; best of {arguments.patches}), {count} patches, so about "
          f"{min(busy_times) * count:.0f} s of processor time (extrapolated)")
    print(f"ratio: {min(busy_times) * count / mine:.0f} times the processor time of nerveplan's segmentation and "
          "landmarks together")


if __name__ == "__main__":
    main()
