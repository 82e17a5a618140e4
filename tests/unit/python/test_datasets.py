"""Images of any usual kind become the same bytes; what cannot is named with its index."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from planner.data.dataset import open_data
from planner.data.describe import describe
from planner.data.records import file_bytes
from planner.data.write import write_npz
from planner.errors import InputError
from planner.model.zoo import from_zoo
from planner.python.datasets import Samples, class_names, look, mapped_part, measured_normalisation
from planner.schema.codec import decode
from planner.schema.model import Model
from planner.tasks.base import Label, class_label, class_of
from tests.unit.data.support import random_images

GREY = from_zoo("cnn6", (1, 8, 10), 10)
COLOUR = from_zoo("cnn6", (3, 8, 10), 10)
PIXELS = random_images(8, 10, 3)
FLAT = random_images(8, 10)


def _one(image: Any, label: Any = 3, model: Any = COLOUR) -> tuple[bytes, Label]:
    part = mapped_part([(image, label)], model, "test_", "data")
    assert (part.prefix, part.count) == ("test_", 1)
    (found,) = part.samples
    return found


@pytest.mark.parametrize(
    "image",
    [
        PIXELS,
        PIXELS.transpose(2, 0, 1),
        torch.from_numpy(PIXELS.transpose(2, 0, 1).copy()),
        torch.from_numpy(PIXELS.transpose(2, 0, 1).copy()).float() / 255,
        (torch.from_numpy(PIXELS.transpose(2, 0, 1).copy()).float() / 255).requires_grad_(),
        PIXELS / 255,
        Image.fromarray(PIXELS),
    ],
    ids=["array", "array, channels first", "tensor", "float tensor", "with gradient", "float array", "Pillow"],
)
def test_an_image_of_any_kind_is_its_pixels(image: Any) -> None:
    assert _one(image) == (PIXELS.tobytes(), class_label(3))


@pytest.mark.parametrize("image", [FLAT, FLAT[None], FLAT[:, :, None], torch.from_numpy(FLAT), Image.fromarray(FLAT)])
def test_grey_images_need_no_channel(image: Any) -> None:
    assert _one(image, model=GREY) == (FLAT.tobytes(), class_label(3))


@pytest.mark.parametrize("model", [COLOUR, GREY])
def test_images_of_other_sizes_are_resized_where_that_is_wanted(model: Any) -> None:
    large = random_images(21, 5, 3) if model is COLOUR else random_images(21, 5)
    expected = Image.fromarray(large).resize((10, 8), Image.Resampling.BILINEAR).tobytes()
    first = torch.from_numpy(large.reshape(21, 5, -1).transpose(2, 0, 1).copy())
    for image in (large, first, first.float() / 255, Image.fromarray(large)):
        (found,) = mapped_part([(image, 3)], model, "", "data", resize=True).samples
        assert found == (expected, class_label(3))


@pytest.mark.parametrize("label", [7, np.int64(7), np.uint8(7), torch.tensor(7)])
def test_a_label_is_any_whole_number(label: Any) -> None:
    assert _one(PIXELS, label) == (PIXELS.tobytes(), class_label(7))


@pytest.mark.parametrize(
    ("sample", "said"),
    [
        ((PIXELS[:7], 0), r"data\[0\]: its image is 7×10×3; the plan's model takes 3×8×10"),
        ((PIXELS.astype(np.int32), 0), r"data\[0\]: its image is of int32; uint8, or floats from 0 to 1, are needed"),
        ((PIXELS / 255 * 2 - 1, 0), r"data\[0\]: its image has values from -\S+ to \S+; floats from 0 to 1 are needed"),
        ((np.full((8, 10, 3), np.nan), 0), "floats from 0 to 1 are needed"),
        ((PIXELS, 10), r"data\[0\]: its label is 10; the plan's model tells 0 to 9 apart"),
        ((PIXELS, -1), r"data\[0\]: its label is -1"),
        ((PIXELS, 1.5), r"data\[0\]: its label is a float; a whole number is needed"),
        (PIXELS, r"data\[0\]: is a ndarray; a pair of input and label is needed"),
        ((PIXELS, 1, 2), r"data\[0\]: is a tuple; a pair"),
    ],
)
def test_what_does_not_fit_is_named(sample: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        next(mapped_part([sample], COLOUR, "", "data").samples)


def test_what_is_no_data_set_is_refused() -> None:
    with pytest.raises(InputError, match=r"^test, sample 0: is a int; a pair of input and label is needed"):
        mapped_part((index for index in range(3)), COLOUR, "", "test")


def test_samples_are_asked_for_one_by_one() -> None:
    asked: list[int] = []

    class Counting:
        """Remembers what was asked for."""

        def __len__(self) -> int:
            return 5

        def __getitem__(self, index: int) -> tuple[Any, int]:
            asked.append(index)
            return PIXELS, index

    samples = mapped_part(Counting(), COLOUR, "", "data").samples
    assert asked == []
    assert [class_of(next(samples)[1]), class_of(next(samples)[1])] == asked == [0, 1]


class Named(list[Any]):
    """A data set whose classes are called something."""

    def __init__(self, classes: Any) -> None:
        super().__init__()
        self.classes = classes


@pytest.mark.parametrize(
    ("classes", "found"),
    [
        (["cat", "dog"], ("cat", "dog")),
        (("cat", "dog", "owl"), ("cat", "dog", "owl")),
        ([str(number) for number in range(11)], ()),  # more than the model tells apart: of something else
        ([("tench", "Tinca tinca"), ("goldfish",)], ()),  # torchvision's ImageNet has several for each
        (["cat", "cat"], ()),
        (["cat", ""], ()),
        ([0, 1], ()),
        ([], ()),
        (3, ()),
        ("cat", ()),
    ],
)
def test_what_a_data_set_calls_its_classes(classes: Any, found: tuple[str, ...]) -> None:
    assert class_names(Named(classes), 10) == found
    part: Any = torch.utils.data.Subset(Named(classes), [])  # type: ignore[arg-type]  # whatever has the attribute
    assert class_names(torch.utils.data.Subset(part, []), 10) == found


def test_a_data_set_without_names() -> None:
    assert class_names([], 10) == ()
    loop = Named(None)
    loop.dataset = loop  # type: ignore[attr-defined]  # whatever people write
    assert class_names(loop, 10) == ()


SEGMENTING = decode(
    Model,
    {
        "schema": "model/1",
        "name": "s",
        "input": [3, 8, 10],
        "classes": 3,
        "task": {"kind": "segmentation"},
        "units": [{"name": "c", "layers": [{"op": "conv2d", "out_channels": 3, "kernel": 1}]}],
    },
)


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy, Image.fromarray, np.ndarray.tolist])
def test_masks_of_any_kind_are_resized_with_their_images(kind: Any) -> None:
    image, mask = random_images(21, 5, 3), random_images(21, 5) % 3
    mask[3] = 255
    (found,) = mapped_part([(image, kind(mask))], SEGMENTING, "", "data", resize=True).samples
    assert found[1] == Image.fromarray(mask).resize((10, 8), Image.Resampling.NEAREST).tobytes()
    with pytest.raises(InputError, match="its label is no mask of 21×5"):
        next(mapped_part([(image, kind(mask[1:]))], SEGMENTING, "", "data", resize=True).samples)


def test_a_palettes_indices_are_the_classes() -> None:
    mask = Image.fromarray(random_images(8, 10) % 3)
    mask.putpalette(bytes(range(30)))
    assert _one(PIXELS, mask, SEGMENTING)[1] == mask.tobytes()


class Anew:
    """Begins anew whenever it is iterated over."""

    classes = ("a", "b", "c")

    def __iter__(self) -> Iterator[tuple[Any, int]]:
        return ((PIXELS + number, number) for number in range(4))


def test_a_stream_is_planned_for_with_the_number_of_its_samples() -> None:
    given: list[Samples] = [Anew(), lambda: iter(Anew())]
    for stream in given:
        looked = look(stream, COLOUR, 0, False, 4)
        assert (looked.class_names, looked.training_samples) == (Anew.classes if isinstance(stream, Anew) else (), 4)
        with pytest.raises(InputError, match=r"does not say how many samples it has; say it with samples="):
            look(stream, COLOUR, 0, False)
        values = np.stack([PIXELS + number for number in range(4)]) / 255
        found = measured_normalisation(stream, COLOUR, 0, False)
        np.testing.assert_allclose(found.mean, values.mean((0, 1, 2)))
    with pytest.raises(InputError, match=r"data, sample 0: its image is 8×10; the plan's model takes 3×8×10"):
        look(lambda: iter([(FLAT, 0)]), COLOUR, 0, False, 4)


@pytest.mark.parametrize("samples", [None, 4])
def test_what_is_read_once_is_not_begun_by_planning(samples: int | None) -> None:
    stream = iter(Anew())
    message = "is read once, and planning would take its first sample" if samples else "how many samples it has"
    with pytest.raises(InputError, match=message):
        look(stream, COLOUR, 0, False, samples)
    assert len(list(stream)) == 4


def test_a_programs_own_data_is_on_storage_as_it_is_written_and_as_it_is_prepared(tmp_path: Path) -> None:
    samples: Samples = [(PIXELS, index % 3) for index in range(200)]
    path = tmp_path / "data.npz"
    write_npz(path, COLOUR.input, [mapped_part(samples, COLOUR, "", "data")])
    with open_data(str(path), tmp_path) as opened:
        prepared = file_bytes(describe(opened, 0).description)
    headers = path.stat().st_size + prepared - look(samples, COLOUR, 0, False).stored_bytes
    assert 0 < headers <= 2 * 4096  # of both files, in which there are 244 and 248 bytes for each sample
    assert look(path, COLOUR, 0, False).stored_bytes == prepared


def test_data_without_samples_is_refused() -> None:
    given: list[Samples] = [[], lambda: iter(())]
    for data in given:
        with pytest.raises(InputError, match="data: holds no samples"):
            look(data, COLOUR, 0, False, 4)
