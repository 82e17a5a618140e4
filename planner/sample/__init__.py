"""The bundled sample: the first 4000 training and 1000 test images of Fashion-MNIST (MIT licence, beside it).

A compressed `.npz` with the members `images` (4000×28×28, uint8), `labels` (4000, uint8, 0 to 9), `test_images` and
`test_labels`. Made by `python -m benchmarks.make_sample`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

SAMPLE_FILE: Final = Path(__file__).with_name("fashion_mnist_sample.npz")
"""Where the sample lies on this machine."""
