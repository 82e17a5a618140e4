"""Weights to begin with (`--init`): kept in the output folder, so that a resumed run begins every block as it would.

Numbers of 16 bits are made float32 on the way, piece by piece, and without torch: this is the supervisor's work.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from planner.errors import InputError, StorageError
from planner.model.load import load_model
from planner.runner.storage.exported import own_names, tensors_of
from planner.runner.storage.onnx_weights import OnnxWeights
from planner.runner.storage.safetensors import CONVERTED, Entry, TensorFile, write_tensors
from planner.runner.supervise.torch_file import SUFFIXES, as_safetensors
from planner.schema.model import Model
from planner.schema.plan import Plan
from planner.schema.run_folder import RunFolder

_OURS = ("units.", "heads.", "window_heads.")
_COUNTER = ".num_batches_tracked"
_CHUNK_BYTES = 2**16
"""Small: numbers of F16 are Python's for a moment, which take 16 times as much."""


def keep_initial(source: Path, target: Path, model: Model) -> None:
    """Copy a file of safetensors, torch or ONNX, or a run's full model where its output folder is given.

    A megabyte at a time; one of torch is read by a process of its own.

    A tensor may have the name that a model's file gives it, or that of the network which the model was made of.
    Tensors named as a network's are made float32 where they are F16 or BF16; InputError names one of another type.
    Raises InputError where it is no such file, StorageError.
    """
    if source.is_dir():
        folder = RunFolder(source)
        # What came out is an exit, where there is a full model beside it.
        source = folder.full_model if folder.full_model.is_file() else folder.model
    if source.suffix not in SUFFIXES:
        _keep(source, source, target, model)
        return
    with tempfile.TemporaryDirectory(prefix="reading-", dir=target.parent) as scratch:
        plain = Path(scratch) / "weights.safetensors"
        try:
            as_safetensors(source, plain)
        except InputError as error:
            raise InputError(f"--init {error}") from None
        _keep(source, plain, target, model)


def _keep(source: Path, readable: Path, target: Path, model: Model) -> None:
    """`readable` has what is in `source`, in a format that is read here."""
    try:
        file = OnnxWeights(readable) if readable.suffix == ".onnx" else TensorFile(readable)
    except StorageError as error:
        raise InputError(f"--init {error}") from None
    try:
        kinds, ours = _names(model)
        kept = [(entry, name) for entry in file.entries for name in ours.get(entry.name, [entry.name])]
        widened = {entry.name: _WIDENED[entry.dtype] for entry in file.entries if _is_widened(source, entry, kinds)}

        def chunks() -> Iterator[memoryview]:
            for entry, _ in kept:
                widen = widened.get(entry.name)
                if widen is None:
                    yield from file.chunks(entry.name)
                else:
                    yield from (memoryview(widen(chunk)) for chunk in file.chunks(entry.name, _CHUNK_BYTES))

        types = {entry.name: "F32" if entry.name in widened else entry.dtype for entry in file.entries}
        entries = [replace(entry, name=name, dtype=types[entry.name]) for entry, name in kept]
        write_tensors(target, entries, chunks, {CONVERTED: str(len(widened))} if widened else None)
    finally:
        file.close()


def input_difference(source: Path, plan: Plan) -> str | None:
    """That the network which weights are of was given images otherwise than the plan has it: a warning, or none.

    What they went in as then, its description says, where one lies beside them; where none does, nobody knows.
    """
    described = source.with_suffix(".json")
    if source.is_dir():
        folder = RunFolder(source)
        described = folder.full_description if folder.full_description.is_file() else folder.description
    try:
        before = load_model(str(described), None, None).normalised_by
    except InputError:
        return None
    dtype = plan.model.input_dtype
    if before == plan.normalisation:
        return None
    return (
        f"--init {source}: these weights were trained on samples that went in as {before.words(dtype)}; the plan has "
        f"them go in as {plan.normalisation.words(dtype)}"
    )


def _names(model: Model) -> tuple[dict[str, str], dict[str, list[str]]]:
    """The type of a tensor, by its name of either kind; and what is called so in a model's file, by its own name."""
    kinds = {entry.name: entry.dtype for entry in tensors_of(model)}
    ours: dict[str, list[str]] = {}
    for name, own in own_names(model).items():
        ours.setdefault(own, []).append(name)
        kinds[own] = kinds[name]
    return kinds, ours


def _is_widened(source: Path, entry: Entry, kinds: Mapping[str, str]) -> bool:
    """Whether a tensor is made float32. Others are float32, counters, or no network's (then they are not used)."""
    right = kinds.get(entry.name, "I64" if entry.name.endswith(_COUNTER) else "F32")
    if entry.dtype == right or not (entry.name in kinds or entry.name.startswith(_OURS)):
        return False
    if right == "F32" and entry.dtype in _WIDENED:
        return True
    also = " (or F16, BF16, which are made F32)" if right == "F32" else ""
    raise InputError(
        f"--init {source}: {entry.name} is of type {entry.dtype}, {right} is right{also}; convert it, or leave it out"
    )


def _from_bfloat16(chunk: memoryview) -> bytearray:
    """The upper half of a float32 each; the lower is 0."""
    wide = bytearray(2 * len(chunk))
    wide[2::4], wide[3::4] = chunk[::2], chunk[1::2]
    return wide


def _from_float16(chunk: memoryview) -> bytes:
    count = len(chunk) // 2
    return struct.pack(f"<{count}f", *struct.unpack(f"<{count}e", chunk))


_WIDENED: dict[str, Callable[[memoryview], bytes | bytearray]] = {"BF16": _from_bfloat16, "F16": _from_float16}
