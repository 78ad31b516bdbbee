"""The exported graph is the trained net; needs the extra ``train``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")


def test_graph_equals_the_net_and_reads_back(tmp_path: Path) -> None:
    import onnxruntime

    from segmentation.training.contract import LOCALISE
    from segmentation.training.export import graph_of, weights_of
    from segmentation.training.nets import build

    torch.manual_seed(2)
    net = build(LOCALISE).eval()
    with torch.no_grad():
        for value in net.state_dict().values():
            value.copy_(value.half().float())
    path = tmp_path / "localise.onnx"
    path.write_bytes(graph_of({k: v.numpy() for k, v in net.state_dict().items()}, LOCALISE).SerializeToString())
    image = np.random.default_rng(0).normal(size=(1, 1, 16, 24, 32)).astype(np.float32)
    (found,) = onnxruntime.InferenceSession(str(path)).run(None, {"image": image})
    with torch.no_grad():
        expected = net(torch.from_numpy(image)).numpy()
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
    stored = weights_of(path)
    assert stored.keys() == net.state_dict().keys()
    assert all(np.array_equal(stored[k], v.numpy()) for k, v in net.state_dict().items())
