"""The options of `neuroflux plan`, and the request that they make."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from planner.cli import options
from planner.cli.subject import ModelAndData
from planner.limits import MAX_EPOCHS, MAX_UNITS
from planner.schema.common import CacheDtype, Policy
from planner.schema.request import STRATEGY_WORDS, Augment, Preference, Request, Scope, Strategy
from planner.schema.terms import USUAL_VIEWS, BudgetTerms, PlanTerms, TrainingTerms, left_for_caches
from planner.units import format_bytes

_EPILOG = """\
how it goes:  the network is measured once on this device (or a profile is taken), then the fastest plan
              that stays within the budget is searched; nothing is trained. Printed are the plan block by
              block, what its memory is made of, every other strategy, and what more or less budget buys.

first time:   neuroflux plan --model vgg16 --data sample --budget 300MiB -o plan.json
              neuroflux run plan.json --data sample

words:        micro-batch  samples that are in memory at one time; several make a batch
              cut          a boundary where gradient stops; a small head there gives a loss of its own.
                           Without cuts the training is ordinary backpropagation
              block        what is in memory at one time; blocks are trained one after another
              recomputed   units that forget what backward needs and run forward again for it

exit codes:   0 planned · 2 bad input · 3 nothing fits the budget (the smallest that does is named, and
              the smallest change that would make a plan fit)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    options.take_negative_sizes(parser)
    options.add_validation(options.add_model(parser))
    _add_budget(parser.add_argument_group("the budget"))
    options.add_training(parser)
    options.add_schedule(parser)
    options.add_normalisation(parser.add_argument_group("what images go in as"))
    _add_augment(parser.add_argument_group("augmentation"))
    _add_freeze(parser.add_argument_group("fine-tuning"))
    _add_choosing(parser.add_argument_group("choosing"))
    _add_source(parser.add_argument_group("what it costs here"))
    group = parser.add_argument_group("output")
    group.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the plan here, for `neuroflux run`")
    group.add_argument("--svg", type=Path, metavar="FILE", help="draw time against budget here (needs matplotlib)")
    options.add_json(parser)


def _add_budget(group: argparse._ArgumentGroup) -> None:
    """What must not be exceeded."""
    group.add_argument(
        "--budget",
        required=True,
        type=options.size("budget"),
        metavar="BYTES",
        help="memory of the training, for instance 300MiB; never exceeded",
    )
    group.add_argument(
        "--scope",
        choices=get_args(Scope),
        default=BudgetTerms.scope,
        help="what the budget counts: process: everything resident, Python and torch included; training: bytes above "
        "what these take by themselves (default %(default)s)",
    )
    group.add_argument(
        "--storage",
        type=options.size("storage"),
        metavar="BYTES",
        help="most storage for caches of activations between blocks (default: not limited)",
    )
    group.add_argument(
        "--cache-dtype",
        choices=get_args(CacheDtype),
        help="how caches hold activations (default: as units compute, or bfloat16 where --storage does not hold the "
        "two largest caches so)",
    )
    group.add_argument(
        "--reserve",
        type=options.size_or_zero("reserve"),
        default=PlanTerms.reserve_bytes,
        metavar="BYTES",
        help="part of the budget that is left free, for what no profile foresees (default "
        f"{format_bytes(Request.reserve_bytes)})",
    )


def _add_augment(group: argparse._ArgumentGroup) -> None:
    """What happens to images while training."""
    group.add_argument(
        "--augment",
        choices=get_args(Augment),
        default=TrainingTerms.augment,
        help="crop: images move by up to an eighth of their height and width, otherwise in every pass; flip: half of "
        "them are mirrored left to right (default %(default)s)",
    )
    group.add_argument(
        "--views",
        type=options.count("views", 1, MAX_EPOCHS),
        metavar="K",
        default=TrainingTerms.views,
        help="augmented passes that a cache between blocks holds; a block's epochs take them in turn (default "
        f"{USUAL_VIEWS}, or the epochs where these are fewer). Storage and the time to write grow with it",
    )


def _add_freeze(group: argparse._ArgumentGroup) -> None:
    """What is not trained."""
    group.add_argument(
        "--freeze",
        type=options.count("freeze", 0, MAX_UNITS - 1),
        default=TrainingTerms.freeze,
        metavar="N",
        help="the first N units keep the weights that `neuroflux run --init` gives them: no gradients, no optimizer "
        "state, and where their outputs are cached they run once (default %(default)s)",
    )


def _add_choosing(group: argparse._ArgumentGroup) -> None:
    """What the search may take, and what it prefers."""
    group.add_argument(
        "--strategy",
        choices=get_args(Strategy),
        default=PlanTerms.strategy,
        help=f"{'; '.join(f'{name}: {words}' for name, words in STRATEGY_WORDS.items())} (default %(default)s)",
    )
    group.add_argument(
        "--prefer",
        choices=get_args(Preference),
        default=PlanTerms.prefer,
        help="balanced: least accuracy lost (fewest cuts) within 10 %% of the fastest; speed: fastest; fidelity: least "
        "accuracy lost (default %(default)s)",
    )
    group.add_argument(
        "--max-accuracy-loss",
        type=options.points("max-accuracy-loss"),
        metavar="POINTS",
        help="most points of accuracy that the plan is predicted to lose to backpropagation; 0 allows no cut (default: "
        "any number)",
    )
    group.add_argument(
        "--max-cuts",
        type=options.count("max-cuts", 0, MAX_UNITS),
        metavar="N",
        help="most cuts; 0 trains as ordinary backpropagation does (default: any number)",
    )
    group.add_argument(
        "--linear-segments",
        action="store_true",
        help="allow segments without a convolution, such as the classifier alone: what comes out may be worse than its "
        "exit before that (networks without any convolution are cut anywhere)",
    )
    group.add_argument(
        "--allocator",
        choices=get_args(Policy),
        help="how the training process handles freed memory: tight gives it back, fast keeps it, huge keeps it in "
        "huge pages, with peaks that are not bounded yet: a run may end above its budget (default: tight or fast, "
        "whichever is faster and fits)",
    )
    options.add_head(group, "what stands at cuts (default: pooled-conv, or what the outputs allow)")
    group.add_argument(
        "--overlap",
        type=options.overlap,
        default=PlanTerms.overlap,
        metavar="N",
        help="units behind its own that a segment trains as well, 0 or 1: they are trained again by the next one, and "
        "less accuracy is lost, for more memory and time; auto: at the cuts where that suits --prefer (default "
        "%(default)s)",
    )
    group.add_argument(
        "--head-time-share",
        type=options.share("head-time-share"),
        default=PlanTerms.head_time_share,
        metavar="X",
        help="most time that a head may add to a typical segment, as a share of it: heads are as wide as that allows "
        "(default %(default)s)",
    )
    group.add_argument(
        "--grouping-threshold",
        type=options.share("grouping-threshold"),
        default=PlanTerms.grouping_threshold,
        metavar="X",
        help="under neuroflux: largest relative difference of the micro-batches that fit within one block (default "
        "%(default)s)",
    )


def _add_source(group: argparse._ArgumentGroup) -> None:
    """Where the profile comes from."""
    group.add_argument(
        "--profile",
        type=Path,
        metavar="FILE",
        help="a profile measured before (default: this device's store, or measure now)",
    )
    group.add_argument(
        "--any-device",
        action="store_true",
        help="take FILE even if it was measured on another device, or on this one before it changed",
    )
    group.add_argument(
        "--no-measure",
        action="store_true",
        help="measure nothing: this device's store, or a shipped profile (also where torch is not installed)",
    )


def request_from(arguments: argparse.Namespace, samples: int, subject: ModelAndData) -> Request:
    """The request that the arguments make. Prepared data takes its part of the storage."""
    return PlanTerms(
        budget=BudgetTerms(arguments.budget, arguments.scope),
        training=_training_from(arguments, samples, subject),
        storage_bytes=left_for_caches(arguments.storage, subject.prepared_bytes),
        cache_dtype=arguments.cache_dtype,
        strategy=arguments.strategy,
        prefer=arguments.prefer,
        max_cuts=arguments.max_cuts,
        linear_segments=arguments.linear_segments,
        allocator=arguments.allocator,
        reserve_bytes=arguments.reserve,
        head_time_share=arguments.head_time_share,
        grouping_threshold=arguments.grouping_threshold,
        head=arguments.head,
        overlap=arguments.overlap,
        max_accuracy_loss=arguments.max_accuracy_loss,
    ).request()


def _training_from(arguments: argparse.Namespace, samples: int, subject: ModelAndData) -> TrainingTerms:
    """How training goes; what is not said of images is as the model's own description has it.

    Raises InputError where terms do not go with each other, as more views than epochs.
    """
    optimizer = options.optimizer_from(arguments)
    normalisation = options.normalisation_from(arguments) or subject.normalisation
    resize, shorter_side = options.framing_from(arguments)
    try:
        return TrainingTerms(
            batch=arguments.batch,
            epochs=arguments.epochs,
            samples=samples,
            optimizer=optimizer,
            schedule=arguments.schedule,
            warmup=arguments.warmup,
            early_epochs=arguments.early_epochs,
            polish=arguments.polish,
            polish_lr=arguments.polish_lr,
            augment=arguments.augment,
            views=arguments.views,
            dtype=arguments.dtype,
            seed=arguments.seed,
            freeze=arguments.freeze,
            normalisation=normalisation,
            resize=subject.resize if resize is None else "bilinear",
            shorter_side=subject.shorter_side if resize is None else shorter_side,
        )
    except ValueError as error:
        raise options.refused(error) from None
