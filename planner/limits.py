"""Every ceiling for untrusted input, checked with Python integers before any tensor exists."""

from __future__ import annotations

MAX_DOCUMENT_BYTES = 64 * 2**20
"""Longest JSON document that is read at all (profiles of long chains are the largest)."""

MAX_MODEL_BYTES = 4 * 2**20
"""Longest file of a model description that is parsed: 4 KiB for each of `MAX_UNITS`."""

MAX_DOCUMENT_DEPTH = 32
"""Deepest nesting of lists and objects in a document."""

MAX_TEXT_LENGTH = 8_192
"""Longest text inside a document: paths and messages."""

MAX_LIST_LENGTH = 16_384
"""Most items of one list, and most fields of one object."""

MAX_NAME_LENGTH = 200
"""Longest name, path or label inside a document."""

MAX_UNITS = 1024
"""Units of one model."""

MAX_OVERLAP = 1
"""Units that a segment trains behind its own."""

MAX_LAYERS_PER_UNIT = 64
"""Layers of one unit, nested ones included."""

MAX_GRAPH_NODES = 4096
"""Nodes of one unit graph, and its tensors."""

MAX_BOUNDARY_TENSORS = 64
"""Tensors between two units: one, and what skips carry along."""

MAX_RANK = 8
"""Dimensions of a tensor, samples included."""

MAX_TENSORS = MAX_UNITS * (9 * MAX_LAYERS_PER_UNIT + 18)
"""Tensors of one weight file: a checkpoint of the largest network. A batch normalisation has five, and two copies as
state of two of them; a head has eight tensors, and ten as state."""

MAX_GRAPH_TENSORS = MAX_UNITS * 3 * MAX_LAYERS_PER_UNIT
"""Tensors of a model's unit graphs: with two copies each as state, no more than `MAX_TENSORS` leave for units."""

MAX_HEADER_BYTES = 128 * 2**20
"""Longest header of a weight file: 220 bytes for each of `MAX_TENSORS`. Exported models stay below 100 MB, beyond which
the safetensors library reads none."""

MAX_ONNX_BYTES = 2**31
"""Longest ONNX file, weights within it included: what protocol buffers allow."""

MAX_ONNX_FIELDS = 2**20
"""Fields and numbers of an ONNX file that are read beside its weights."""

MAX_ONNX_NODES = 16_384
"""Nodes of an ONNX graph."""

MAX_RESIDUAL_DEPTH = 4
"""Residuals inside residuals."""

MAX_CHANNELS = 65_536
"""Channels or features of one layer."""

MAX_EXTENT = 8_192
"""Height or width of an activation."""

MAX_LENGTH = 2**22
"""Extents of a sample without height and width, and of what becomes of it: a sequence, a vector of features."""

MAX_KERNEL = 64
"""Side of a convolution or pooling window, its stride and its padding."""

MAX_PARAMETERS = 4_000_000_000
"""Parameters of one model."""

MAX_ACTIVATION_NUMEL = 2**31
"""Elements of one sample's activation between two layers."""

MAX_CLASSES = 65_536
"""Classes of a classifier."""

MAX_BATCH = 65_536
"""Samples of one optimizer step."""

MAX_SAMPLES = 10**10
"""Samples of a data set."""

MAX_EPOCHS = 1_000_000
"""Passes over the data."""

MAX_BYTES = 2**63 - 1
"""Any byte count in a document."""
