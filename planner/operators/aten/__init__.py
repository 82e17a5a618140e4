"""The operators of unit graphs, named as PyTorch's ATen names them: a file per family, an `AtenOperator` each.

Standard library alone, as in `planner.operators`. `planner.operators.unit_graph` is what is made of them;
`planner.model.interpreter` runs them by calling `torch.ops.aten` with the same names and arguments.
"""
