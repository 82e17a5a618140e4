"""What a sample says: one or several, of which shape and type, told by real networks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from planner.errors import ModelError
from planner.model.importers.given import Given
from planner.model.importers.module import import_module
from planner.model.tokens import token_limit
from planner.schema.inputs import InputDtype


class Convolution(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.last = nn.Conv1d(9, 4, 5), nn.BatchNorm1d(4), nn.Linear(4, 6)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.last(torch.relu(self.norm(self.stem(x))).mean(2))
        return found


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.last = nn.Embedding(31, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.last(self.table(x).mean(1))
        return found


def flat(width: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(width, 3))


def whole(*shape: int) -> Tensor:
    return torch.zeros(shape, dtype=torch.int64)


@pytest.mark.parametrize(
    ("make", "sample", "shape", "dtype"),
    [
        pytest.param(Convolution, torch.zeros(2, 9, 128), (9, 128), "float32", id="a batch of sequences"),
        pytest.param(Convolution, torch.zeros(9, 128), (9, 128), "float32", id="a sequence"),
        pytest.param(lambda: nn.Linear(9, 3), torch.zeros(9), (9,), "float32", id="a vector"),
        pytest.param(lambda: nn.Linear(9, 3), torch.zeros(4, 9), (9,), "float32", id="vectors"),
        pytest.param(lambda: flat(784), torch.zeros(1, 28, 28), (1, 28, 28), "uint8", id="an image"),
        pytest.param(lambda: flat(784), torch.zeros(2, 28, 28), (28, 28), "float32", id="two pictures of numbers"),
        pytest.param(lambda: flat(48), torch.zeros(5, 3, 4, 4), (3, 4, 4), "uint8", id="images"),
        pytest.param(lambda: flat(48), torch.zeros(3, 4, 4, dtype=torch.uint8), (3, 4, 4), "uint8", id="8 bits"),
        pytest.param(lambda: flat(16), torch.zeros(2, 1, 2, 2, 4), (1, 2, 2, 4), "float32", id="volumes"),
        pytest.param(Tokens, whole(20), (20,), "int64", id="a row of tokens"),
        pytest.param(Tokens, whole(2, 20), (20,), "int64", id="rows of tokens"),
        pytest.param(Tokens, whole(2, 20).int(), (20,), "int64", id="tokens of 32 bits"),
    ],
)  # fmt: skip
def test_what_a_sample_is(make: type[nn.Module], sample: Tensor, shape: tuple[int, ...], dtype: InputDtype) -> None:
    model = import_module(Given(make(), sample))
    assert (model.input, model.input_dtype) == (shape, dtype)
    assert token_limit(model) == (31 if dtype == "int64" else 0)


def test_numbers_in_three_dimensions_are_no_images_where_that_is_said() -> None:
    model = import_module(Given(flat(48), torch.zeros(2, 3, 4, 4), inputs="float32"))
    assert (model.input, model.input_dtype) == ((3, 4, 4), "float32")
    with pytest.raises(ModelError, match=r"1×28×28 may be one sample, or 1 of 28×28, and the network takes both"):
        import_module(Given(flat(784), torch.zeros(1, 28, 28), inputs="float32"))


@pytest.mark.parametrize(
    ("sample", "inputs", "said"),
    [
        (torch.zeros(9, 128), "int64", "sample: is torch.float32, but inputs is int64"),
        (torch.zeros(9, 128), "int8", "inputs is 'int8'; it is one of uint8, float32, int64"),
        (torch.zeros(2, 9, 128, dtype=torch.bool), None, "sample: is torch.bool"),
        (torch.zeros(()), None, "sample: is a single number"),
        (torch.zeros(2, 1, 1, 1, 9, 128), None, "input has 5 dimensions; a sample has 1 to 4"),
        (torch.zeros(2, 8, 128), None, "layer 'stem': fails at batch"),
    ],
)
def test_samples_that_are_refused(sample: Tensor, inputs: InputDtype | None, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        import_module(Given(Convolution(), sample, inputs=inputs))
