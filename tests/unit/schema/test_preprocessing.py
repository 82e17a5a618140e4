"""How images are normalised, as documents say it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from planner.errors import DocumentError
from planner.model.zoo import from_zoo
from planner.schema.codec import content_id, decode, encode
from planner.schema.model import Model
from planner.schema.preprocessing import AS_THEY_ARE, USUAL, Normalisation, given_normalisation, given_words
from planner.schema.request import Training
from planner.schema.terms import TrainingTerms

IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize(
    ("mean", "std", "said"),
    [
        ((), (1.0,), "mean is empty"),
        ((0.5,), (), "std is empty"),
        ((float("nan"),), (1.0,), "mean is nan"),
        ((0.5,), (0.0,), "std is 0.0"),
        ((0.5,), (-0.25,), "std is -0.25"),
        ((float("inf"),), (1.0,), "mean is inf"),
    ],
)
def test_numbers_that_nothing_can_be_normalised_by(mean: tuple[float, ...], std: tuple[float, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Normalisation(mean, std)


def test_one_number_or_one_for_each_channel() -> None:
    IMAGENET.check((3, 224, 224))
    USUAL.check((7, 1, 1))
    with pytest.raises(ValueError, match="mean has 3 numbers; the input has 1 channels"):
        IMAGENET.check((1, 28, 28))


def test_mean_and_std_come_together() -> None:
    assert given_normalisation(None, None) is None
    assert given_normalisation([0.5], [0.25]) == USUAL
    with pytest.raises(ValueError, match="std is missing"):
        given_normalisation([0.5], None)


def test_words_are_the_formula() -> None:
    assert USUAL.words("uint8") == "(value / 255 - 0.5) / 0.25"
    assert USUAL.words("float32") == "(value - 0.5) / 0.25"
    assert IMAGENET.words("uint8") == "(value / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]"


def test_what_says_nothing_of_it_keeps_its_id() -> None:
    training = TrainingTerms().training()
    assert training.normalisation is None
    written = encode(training)
    later = ("normalisation", "resize", "shorter_side", "warmup", "early_epochs", "polish", "polish_lr")
    assert [written.pop(name) for name in later] == [None, None, None, 0, None, 0, None]
    assert decode(Training, written) == training
    assert content_id(training) == content_id(written)
    assert content_id(replace(training, normalisation=IMAGENET)) != content_id(training)


def test_a_model_refuses_numbers_for_other_channels() -> None:
    model = from_zoo("cnn6", (1, 28, 28), 10)
    assert model.normalised_by == USUAL
    with pytest.raises(DocumentError, match="mean has 3 numbers"):
        decode(Model, {**encode(model), "normalisation": encode(IMAGENET)})


def test_numbers_are_as_they_are_unless_it_is_said_and_tokens_always() -> None:
    model = replace(from_zoo("cnn6", (3, 32, 32), 10), input_dtype="float32")
    assert model.normalised_by == AS_THEY_ARE
    assert replace(model, normalisation=IMAGENET).normalised_by == IMAGENET
    training = TrainingTerms(normalisation=IMAGENET).training()
    training.check_images((3, 128), "float32")
    with pytest.raises(ValueError, match="mean and std are for numbers; here samples are 128 tokens"):
        training.check_images((128,), "int64")
    assert given_words("float32", (3, 128), AS_THEY_ARE, None) == ("samples", "numbers of float32, as they are")
    assert given_words("float32", (1, 128), USUAL, None)[1].startswith("(value - 0.5) / 0.25")
