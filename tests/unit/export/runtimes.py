"""What runs an ONNX file in tests: ONNX's own reference, and onnxruntime where it is installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

Run = Callable[[onnx.ModelProto, Mapping[str, np.ndarray]], np.ndarray]


def reference(model: onnx.ModelProto, given: Mapping[str, np.ndarray]) -> np.ndarray:
    """ONNX's own."""
    with np.errstate(invalid="ignore"):  # where NaN is what is wanted
        return np.asarray(next(iter(ReferenceEvaluator(model).run(None, dict(given)))))


def _onnxruntime(model: onnx.ModelProto, given: Mapping[str, np.ndarray]) -> np.ndarray:
    onnxruntime = import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, dict(given))[0])


RUNTIMES = [
    pytest.param(reference, id="reference"),
    pytest.param(
        _onnxruntime,
        id="onnxruntime",
        marks=pytest.mark.skipif(find_spec("onnxruntime") is None, reason="onnxruntime is not installed"),
    ),
]
