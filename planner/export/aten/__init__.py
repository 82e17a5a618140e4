"""How each operator of a unit graph is written in ONNX: a table for every family."""
