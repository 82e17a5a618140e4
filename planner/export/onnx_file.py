"""An exported model written as one ONNX file. The whole network is in memory meanwhile, twice."""

from __future__ import annotations

import json
from pathlib import Path

from planner.errors import InputError
from planner.model.shapes import model_sizes
from planner.runner.storage.exported import Exported, tensors_of
from planner.runner.storage.safetensors import TensorFile
from planner.system.files import write_atomically
from planner.units import format_bytes

LONGEST_BYTES = 2**31 - 2**20
"""What a file of this kind (protobuf) may be long, less room for all but the weights."""


CLASS_NAMES = "class_names"
"""Key of the file's metadata under which a JSON list names the classes, in the order of the logits."""


def write_onnx(exported: Exported, target: Path) -> None:
    """Write the network with its weights to `target`: from images (batch, channels, height, width) to logits.

    Raises InputError where the package `onnx` is not installed or the network is too large for one file, StorageError.
    """
    try:
        from onnx import checker

        from planner.export.onnx_graph import make_graph
    except ImportError:
        raise InputError(
            "writing ONNX needs the extra `onnx`, which is not installed: pip install 'neuroflux-planner[onnx]'"
        ) from None
    model = exported.model
    size = 4 * sum(sizes.parameters + sizes.buffers for sizes in model_sizes(model))
    if size > LONGEST_BYTES:
        raise InputError(f"{model.name}: has {format_bytes(size)} of weights; one ONNX file holds less than 2 GiB")
    entries = {entry.name: entry for entry in tensors_of(model)}
    file = TensorFile(exported.weights)

    def read(name: str) -> bytes:
        buffer = bytearray(entries[name].size_bytes)
        file.read_into(name, memoryview(buffer))
        return bytes(buffer)

    try:
        if file.checksum is not None:
            file.verify()
        found = make_graph(model, read)
    finally:
        file.close()
    if model.class_names:
        entry = found.metadata_props.add()
        entry.key, entry.value = CLASS_NAMES, json.dumps(model.class_names, ensure_ascii=False)
    checker.check_model(found)
    write_atomically(target, found.SerializeToString())
