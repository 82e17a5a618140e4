"""The operators of `model/1`: a file per family, each operator a class that says everything the planner knows of it.

Standard library alone. torch and ONNX are spoken of by name, so that one file serves the codec, planning, training and
export: `planner.schema.model` (documents), `planner.model.shapes` (sizes), `planner.model.build` (modules) and
`planner.export` (ONNX). `docs/extending.md` adds one. Networks from torch are unit graphs of `aten` operators.
"""
