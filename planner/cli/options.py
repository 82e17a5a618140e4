"""Options that several commands share, and what they mean."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, get_args

from planner.cli.task_options import add_task
from planner.errors import InputError
from planner.heads.base import HeadChoice
from planner.heads.kinds import HEAD_CHOICES
from planner.limits import MAX_BATCH, MAX_CLASSES, MAX_EPOCHS, MAX_EXTENT, MAX_OVERLAP, MAX_SAMPLES
from planner.schema.common import DecayScope, DeviceKind, Dtype, OptimizerKind, usual_optimizer
from planner.schema.data import ArrayLayout
from planner.schema.inputs import check_input
from planner.schema.preprocessing import USUAL, Normalisation, given_normalisation
from planner.schema.request import Overlap, Schedule
from planner.schema.terms import OptimizerTerms, TrainingTerms
from planner.units import parse_bytes

if TYPE_CHECKING:
    pass

T = TypeVar("T")

MOST_SECONDS = 7 * 24 * 3600
"""What --max-seconds may be at most."""

USUAL_INPUT = (3, 32, 32)
"""Shape of one sample, where neither a person nor data says it."""

_SHAPE = re.compile(r"\d{1,7}(x\d{1,7})*", re.ASCII)


def _argument(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Let argparse show our own message."""

    def convert(text: str) -> T:
        try:
            return parse(text)
        except InputError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def count(name: str, low: int, high: int) -> Callable[[str], int]:
    """An argument type: a whole number between `low` and `high`."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"\d{1,18}", text, re.ASCII) or not low <= int(text) <= high:
            raise InputError(f"{text[:40]!r} is not a whole number between {low} and {high} ({name})")
        return int(text)

    return _argument(parse)


def overlap(text: str) -> Overlap:
    """An argument type: units behind a segment's own, or `auto`."""
    return "auto" if text == "auto" else count("units, or auto", 0, MAX_OVERLAP)(text)


def size(name: str) -> Callable[[str], int]:
    """An argument type: bytes."""
    return _argument(lambda text: parse_bytes(text, name))


def duration(name: str) -> Callable[[str], float]:
    """An argument type: minutes, hours, days or weeks, in seconds."""
    factors = {"min": 60, "h": 3600, "d": 24 * 3600, "w": 7 * 24 * 3600}

    def parse(text: str) -> float:
        match = re.fullmatch(r"(\d{1,5})(min|h|d|w)", text, re.ASCII)
        if match is None or int(match[1]) == 0:
            raise InputError(f"{name}: {text[:40]!r} is no time; write 90min, 12h, 30d or 8w")
        return float(int(match[1]) * factors[match[2]])

    return _argument(parse)


def take_negative_sizes(parser: argparse.ArgumentParser) -> None:
    """Let `--budget -5MiB` reach its argument type, which names the value, as `--budget -5` does by itself."""
    parser._negative_number_matcher = re.compile(r"-\.?\d.*", re.ASCII)


def size_or_zero(name: str) -> Callable[[str], int]:
    """An argument type: bytes, or none at all."""
    return _argument(lambda text: 0 if text.strip() == "0" else parse_bytes(text, name))


def share(name: str) -> Callable[[str], float]:
    """An argument type: a number from 0 to 1."""

    def parse(text: str) -> float:
        value = _number(text)
        if not 0 <= value <= 1:
            raise InputError(f"{text[:40]!r} is not a number from 0 to 1 ({name})")
        return value

    return _argument(parse)


def numbers(name: str) -> Callable[[str], tuple[float, ...]]:
    """An argument type: one number, or several with commas between them."""

    def parse(text: str) -> tuple[float, ...]:
        try:
            return tuple(float(part) for part in text.split(","))
        except ValueError:
            raise InputError(
                f"{text[:40]!r} is no number, nor one for each channel with commas between them ({name})"
            ) from None

    return _argument(parse)


def points(name: str) -> Callable[[str], float | None]:
    """An argument type: points of accuracy, in per cent, or `none`."""

    def parse(text: str) -> float | None:
        if text.strip().lower() == "none":
            return None
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0 <= value <= 100:
            raise InputError(f"{text[:40]!r} is neither points of accuracy from 0 to 100 nor `none` ({name})")
        return value

    return _argument(parse)


def _shape(text: str) -> tuple[int, ...]:
    extents = tuple(int(part) for part in text.split("x")) if _SHAPE.fullmatch(text) else ()
    try:
        check_input(extents)
    except ValueError as error:
        raise InputError(
            f"{text[:40]!r} is not a shape{f' ({error})' if extents else ''}; write channels x height x width of an "
            "image, for instance 3x32x32, or another sample's 1 to 4 extents, for instance 9x128"
        ) from None
    return extents


def _extents(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,6})(?:x(\d{1,6}))?", text, re.ASCII)
    height, width = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not (1 <= height <= MAX_EXTENT and 1 <= width <= MAX_EXTENT):
        raise InputError(f"{text[:40]!r} is no height and width; write for instance 64x64, or 64 for both")
    return height, width


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{text[:40]!r} is not a number, for instance 0.05") from None


def add_model(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """`--model`, `--input`, `--classes`, `--data`; their group, for more of the kind."""
    group = parser.add_argument_group("the network and its data")
    group.add_argument(
        "--model",
        required=True,
        metavar="M",
        help="a zoo name (vgg16, resnet18, …; `neuroflux models` lists them), a .json description, an .onnx file, or "
        "package.module:function, which returns a torch.nn.Module",
    )
    add_shape(group, "the data's, or what the network is made for: 3x32x32 and 10 classes for most")
    group.add_argument(
        "--data", metavar="D", help="sample, fashion-mnist, or a path: input, classes and samples follow from it"
    )
    add_reading(group)
    add_task(group)
    return group


def add_validation(group: argparse._ActionsContainer) -> None:
    """`--validation`."""
    group.add_argument(
        "--validation",
        metavar="PATH",
        help="samples to choose an exit by, where they lie apart: all that is there, labelled as D is (default: the "
        "validation part of D, or a tenth of its training samples)",
    )


def add_shape(group: argparse._ActionsContainer, default: str) -> None:
    """`--input`, `--classes`; `default` says in words what they are otherwise."""
    group.add_argument(
        "--input", type=_argument(_shape), metavar="CxHxW", help=f"one sample's shape (default: {default})"
    )
    group.add_argument(
        "--classes",
        type=count("classes", 1, MAX_CLASSES),
        metavar="N",
        help="how many outputs (default: as --input)",
    )


def add_reading(group: argparse._ArgumentGroup) -> None:
    """`--resize`, `--crop`, `--layout`."""
    group.add_argument(
        "--resize",
        type=_argument(_extents),
        metavar="N|HxW",
        help="height and width that images of other sizes are resized to (bilinear, proportions not kept); without it, "
        "pictures of a folder get the size that most of them have, and arrays are as they are",
    )
    group.add_argument(
        "--crop",
        type=_argument(_extents),
        metavar="N|HxW",
        help="resize every image to a shorter side of --resize N, proportions kept, and cut this out of its middle, as "
        "torchvision's Resize(N) and CenterCrop do",
    )
    group.add_argument(
        "--layout",
        choices=get_args(ArrayLayout),
        help="order of an array's extents, where neither --input nor the array itself settles it: channels last (nhwc) "
        "or first (nchw)",
    )


def framing_from(arguments: argparse.Namespace) -> tuple[tuple[int, int] | None, int | None]:
    """Height and width that images are brought to, and the shorter side before they are cut out; none where nothing is
    said. Raises InputError."""
    resize, crop = arguments.resize, arguments.crop
    if crop is None:
        return resize, None
    if resize is None or resize[0] != resize[1]:
        raise InputError("--crop goes with --resize N, the shorter side that images have before they are cut")
    if max(crop) > resize[0]:
        raise InputError(
            f"--crop: the middle {crop[0]}x{crop[1]} is not in images whose shorter side is {resize[0]} (--resize)"
        )
    return crop, resize[0]


def add_normalisation(group: argparse._ArgumentGroup) -> None:
    """`--mean`, `--std`."""
    group.add_argument(
        "--mean",
        type=numbers("mean"),
        metavar="X[,X…]",
        help="images go into the network as (value / 255 - mean) / std, float32 as (value - mean) / std: one number, "
        f"or one for each channel, as torchvision's Normalize has them (default: {USUAL.mean[0]} for images, "
        "float32 as it is)",
    )
    group.add_argument(
        "--std", type=numbers("std"), metavar="X[,X…]", help=f"see --mean (default: {USUAL.std[0]} for images)"
    )
    group.add_argument(
        "--normalise",
        choices=["measured"],
        help="measure mean and std of each channel over the training samples of --data, all of which are read for it, "
        "and write them into the plan",
    )


def normalisation_from(arguments: argparse.Namespace) -> Normalisation | None:
    """How images are to be normalised; none where nothing is said. Raises InputError."""
    try:
        return given_normalisation(arguments.mean, arguments.std)
    except ValueError as error:
        raise InputError(f"--mean, --std: {error}") from None


def add_training(parser: argparse.ArgumentParser) -> None:
    """`--batch`, `--optimizer`, `--dtype`, `--device`, and what an optimizer is set to."""
    group = parser.add_argument_group("training")
    group.add_argument(
        "--batch",
        type=count("batch", 1, MAX_BATCH),
        default=TrainingTerms.batch,
        metavar="N",
        help="samples of one optimizer step (default %(default)s)",
    )
    group.add_argument(
        "--optimizer",
        choices=get_args(OptimizerKind),
        default=OptimizerTerms.kind,
        help="default %(default)s; docs/training.md has a table of what is usual for each",
    )
    group.add_argument(
        "--dtype",
        choices=get_args(Dtype),
        default=TrainingTerms.dtype,
        help="what units compute in: bfloat16 halves activations and caches, weights stay float32 (default "
        "%(default)s)",
    )
    group.add_argument(
        "--device",
        choices=get_args(DeviceKind),
        help="where tensors live, and so which memory the budget is of: the processor's, or the first GPU's "
        "(default cpu)",
    )
    group.add_argument(
        "--lr",
        type=_argument(_number),
        metavar="X",
        help="learning rate (default 0.1 × batch / 256 for sgd, else 0.001 × √(batch / 128))",
    )
    usual = {kind: usual_optimizer(kind) for kind in get_args(OptimizerKind)}
    group.add_argument(
        "--momentum",
        type=_argument(_number),
        metavar="X",
        help=f"sgd's; 0 keeps no state (default {usual['sgd'].momentum})",
    )
    group.add_argument(
        "--nesterov",
        action=argparse.BooleanOptionalAction,
        help="whether sgd's momentum is Nesterov's (default: it is, where there is momentum)",
    )
    decays = ", ".join(f"{each.weight_decay:g} for {kind}" for kind, each in usual.items())
    group.add_argument("--weight-decay", type=_argument(_number), metavar="X", help=f"default {decays}")
    group.add_argument(
        "--weight-decay-on",
        choices=get_args(DecayScope),
        default=OptimizerTerms.weight_decay_on,
        help="what decays: kernels and matrices, no norms and biases, or all parameters (default %(default)s)",
    )


def add_schedule(parser: argparse.ArgumentParser) -> None:
    """`--epochs`, `--early-epochs`, `--samples`, `--schedule`, `--warmup`, `--seed`."""
    group = parser.add_argument_group("how long")
    group.add_argument(
        "--epochs",
        type=count("epochs", 1, MAX_EPOCHS),
        default=TrainingTerms.epochs,
        metavar="N",
        help="passes over the data (default %(default)s)",
    )
    group.add_argument(
        "--early-epochs",
        type=count("early-epochs", 1, MAX_EPOCHS),
        metavar="N",
        help="blocks train for fewer epochs the earlier they end: from N before the first unit evenly up to --epochs "
        "behind the last (default: every block for --epochs)",
    )
    group.add_argument(
        "--samples",
        type=count("samples", 1, MAX_SAMPLES),
        metavar="N",
        help=f"training samples, where no --data says it (default {TrainingTerms.samples})",
    )
    group.add_argument(
        "--schedule",
        choices=get_args(Schedule),
        default=TrainingTerms.schedule,
        help="learning rate over a block's training (default %(default)s)",
    )
    group.add_argument(
        "--warmup",
        type=count("warmup", 0, MAX_EPOCHS),
        default=TrainingTerms.warmup,
        metavar="N",
        help="epochs of every block over which its learning rate rises evenly, before the schedule begins (default 0, "
        "for batches above 256 an eighteenth of all)",
    )
    group.add_argument(
        "--polish",
        type=count("polish", 0, MAX_EPOCHS),
        default=TrainingTerms.polish,
        metavar="N",
        help="epochs of end-to-end training of the whole network behind the blocks, under the same budget: units are "
        "recomputed as far as it asks for that (default %(default)s: none)",
    )
    group.add_argument(
        "--polish-lr",
        type=float,
        metavar="X",
        help="learning rate at the start of the polish (default: a tenth of --lr)",
    )
    group.add_argument(
        "--seed",
        type=count("seed", 0, 2**62),
        default=TrainingTerms.seed,
        metavar="N",
        help="of every random stream (default %(default)s)",
    )


def add_head(group: argparse._ActionsContainer, what: str) -> None:
    """`--head`; `what` says what it is for."""
    kinds = "; ".join(f"{kind}: {words}" for kind, words in HEAD_CHOICES.items())
    group.add_argument("--head", choices=get_args(HeadChoice), help=f"{what}. {kinds}")


def add_exported(parser: argparse.ArgumentParser) -> None:
    """The trained model that a command takes."""
    parser.add_argument(
        "model",
        type=Path,
        metavar="DIR|MODEL",
        help="a run's output folder, or a model's .json or .safetensors file (the other one lies beside it)",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """`--json`."""
    parser.add_argument("--json", action="store_true", help="print one JSON document on standard output")


def optimizer_from(arguments: argparse.Namespace) -> OptimizerTerms:
    """The optimizer asked for. Raises InputError where a setting lies outside its range."""
    try:
        return OptimizerTerms(
            arguments.optimizer,
            arguments.lr,
            arguments.momentum,
            arguments.nesterov,
            arguments.weight_decay,
            arguments.weight_decay_on,
        )
    except ValueError as error:
        raise refused(error) from None


def refused(error: ValueError) -> InputError:
    """What a document says of a field, which it names first, said of the option that sets it."""
    return InputError(f"--{str(error).partition(' ')[0].replace('_', '-')}: {error}")
