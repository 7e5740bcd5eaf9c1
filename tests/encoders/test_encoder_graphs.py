"""Graphs that strangers wrote: what they may read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from learned_index.encoders.graphs import open_graph

onnx: Any = pytest.importorskip("onnx", reason="graphs are made with onnx, of the extra onnx")
pytest.importorskip("onnxruntime", reason="graphs are run by onnxruntime, of the extra onnx")


def written(path: Path, weights: str, *, operator: str = "Add", domain: str = "") -> Path:
    """A graph that adds four weights, which lie in another file."""
    helper = onnx.helper
    tensor = onnx.TensorProto(name="w", dims=[4], data_type=1, data_location=1)
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", weights
    ends = [helper.make_tensor_value_info(name, 1, [4]) for name in "xy"]
    node = helper.make_node(operator, ["x", "w"], ["y"], domain=domain)
    graph = helper.make_graph([node], "g", ends[:1], ends[1:], [tensor])
    sets = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
    model = helper.make_model(graph, opset_imports=sets)
    model.ir_version = 8
    path.write_bytes(model.SerializeToString())
    return path


def test_weights_beside_a_graph_are_read_and_none_from_elsewhere(tmp_path: Path) -> None:
    inside = tmp_path / "encoder"
    inside.mkdir()
    for place in (tmp_path / "secret.bin", inside / "weights.bin"):
        np.ones(4, np.float32).tofile(place)
    (inside / "link.bin").symlink_to(tmp_path / "secret.bin")
    graph = inside / "network.onnx"
    (found,) = open_graph(written(graph, "weights.bin")).run(None, {"x": np.zeros(4, np.float32)})
    np.testing.assert_array_equal(found, 1)
    for place in ("../secret.bin", str(tmp_path / "secret.bin"), "link.bin"):
        with pytest.raises(Exception, match=r"(?i)external data"):
            open_graph(written(graph, place))


def test_operators_of_other_libraries_are_unknown(tmp_path: Path) -> None:
    np.ones(4, np.float32).tofile(tmp_path / "w.bin")
    graph = written(tmp_path / "network.onnx", "w.bin", operator="Mine", domain="their.library")
    with pytest.raises(Exception, match=r"their\.library"):
        open_graph(graph)
