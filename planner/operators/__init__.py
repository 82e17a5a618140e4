"""The operators of `model/1`: a file per family, each operator a class that says everything the planner knows of it.

Standard library alone. torch and ONNX are spoken of by name, so that one file serves the codec, planning, training and
both doors: `planner.schema.model` (documents), `planner.model.shapes` (sizes), `planner.model.build` (modules),
`planner.model.importers` (from torch) and `planner.export` (to ONNX). `docs/extending.md` adds one.
"""
