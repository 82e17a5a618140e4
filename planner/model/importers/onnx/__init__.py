"""ONNX files as networks to train: read without the package `onnx`, and without torch.

`wire` and `document` read what a file says; `weights` what its tensors hold. `graph` follows the nodes, of which
`operators` has those that are known, and `chain` makes a chain of units of what they give.
"""
