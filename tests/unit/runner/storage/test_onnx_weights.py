"""The weights of an ONNX file, however they are written in it, are what the package `onnx` reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from planner.errors import InputError, StorageError
from planner.model.importers.onnx.chain import import_onnx
from planner.runner.storage.onnx_weights import OnnxWeights
from planner.runner.storage.safetensors import TensorFile
from planner.runner.supervise.initial import keep_initial

NUMBERS = np.arange(12, dtype=np.float32).reshape(3, 4) - 5


def model(*initializers: onnx.TensorProto) -> onnx.ModelProto:
    """A linear layer with weights `w`, and whatever else."""
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("Gemm", ["f", "fc::w"], ["y"], transB=1)]
    weights = numpy_helper.from_array(NUMBERS, "fc::w")
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, 2, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [weights, *initializers],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


TENSORS = [
    numpy_helper.from_array(NUMBERS, "raw"),
    helper.make_tensor("floats", TensorProto.FLOAT, [3, 4], NUMBERS.ravel()),
    numpy_helper.from_array(NUMBERS.astype(np.float16), "half"),
    helper.make_tensor("half.bits", TensorProto.FLOAT16, [3, 4], NUMBERS.astype(np.float16).ravel()),
    helper.make_tensor("bfloat", TensorProto.BFLOAT16, [3, 4], NUMBERS.ravel()),
    numpy_helper.from_array(NUMBERS.astype(np.float64), "double"),
    helper.make_tensor("whole", TensorProto.INT64, [4], [0, -1, 2**62, -(2**63)]),
    numpy_helper.from_array(np.asarray(7, np.int64), "one"),
]


def test_tensors_are_what_the_onnx_package_reads(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(model(*TENSORS), path)
    file = OnnxWeights(path)
    try:
        found = {entry.name: (entry.shape, b"".join(file.chunks(entry.name, 8))) for entry in file.entries}
        types = {entry.name: entry.dtype for entry in file.entries}
    finally:
        file.close()
    expected = {tensor.name: numpy_helper.to_array(tensor) for tensor in TENSORS}
    assert {name: found[name] for name in expected} == {
        name: (array.shape, array.tobytes()) for name, array in expected.items()
    }
    assert [types[tensor.name] for tensor in TENSORS] == ["F32", "F32", "F16", "F16", "BF16", "F64", "I64", "I64"]


@pytest.mark.parametrize("external", [False, True])
def test_a_run_begins_with_them_by_the_names_of_the_description(external: bool, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(model(), path, save_as_external_data=external, location="net.bin", size_threshold=0)
    assert (tmp_path / "net.bin").exists() == external
    description = import_onnx(path).model
    assert [tensor.name for _, tensor in description.graph_tensors()] == ["fc__w"]
    keep_initial(path, tmp_path / "init.safetensors", description)
    file = TensorFile(tmp_path / "init.safetensors")
    try:
        file.verify()
        assert b"".join(file.chunks("units.0.0.fc__w")) == NUMBERS.tobytes()
    finally:
        file.close()


def test_weights_in_another_file_stay_within_the_folder(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "w.bin").write_bytes(NUMBERS.tobytes())
    (inside / "short.bin").write_bytes(NUMBERS.tobytes()[:-1])
    (inside / "link.bin").symlink_to(outside / "w.bin")
    (inside / "folder").mkdir()
    for location, problem in {
        "../outside/w.bin": "is not within the folder",
        str(outside / "w.bin"): "is not within the folder",
        "link.bin": "is not within the folder",
        "none.bin": "there is no such file",
        "folder": "is no file",
        "short.bin": "lies up to byte 48 of 'short.bin', which has 47",
    }.items():
        given = model()
        tensor = given.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", location
        (inside / "net.onnx").write_bytes(given.SerializeToString())
        file = OnnxWeights(inside / "net.onnx")
        with pytest.raises(StorageError, match=problem):
            list(file.chunks("fc__w"))
        file.close()


def test_what_is_no_onnx_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"no file of this kind")
    with pytest.raises(InputError, match=f"^--init {path}: "):
        keep_initial(path, tmp_path / "init.safetensors", None)  # type: ignore[arg-type]  # not looked at
    with pytest.raises(InputError, match=r"none\.onnx: cannot be read \(No such file"):
        keep_initial(tmp_path / "none.onnx", tmp_path / "init.safetensors", None)  # type: ignore[arg-type]
    assert not (tmp_path / "init.safetensors").exists()
