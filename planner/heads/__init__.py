"""What may stand behind a unit: a file per kind of head, each a class that says everything the planner knows of it.

Standard library and `planner.operators` alone: a head is made of operators, which know their shapes, weights, modules
and ONNX nodes. So one file serves documents, measuring, planning, training and export. `docs/extending.md` adds one.
"""
