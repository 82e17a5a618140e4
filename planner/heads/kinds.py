"""The closed list of heads, and which of them a profile measures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from planner.heads.base import HeadChoice, HeadKind
from planner.heads.convolution import FILTERS, ConvHead
from planner.heads.dense import PixelHead, PlaceHead
from planner.heads.lookahead import THINNINGS, LookaheadHead
from planner.heads.mlp import WIDTHS, MlpHead
from planner.heads.pooled import PooledHead
from planner.heads.reconstruct import ReconstructHead

AuxiliaryHead = ConvHead | PixelHead | PlaceHead | MlpHead | LookaheadHead | ReconstructHead
"""A head that is trained with the segment in front of it: the union of their classes."""

ExitHead = AuxiliaryHead | PooledHead
"""What a smaller model may end in."""

MEASURED_HEADS: tuple[AuxiliaryHead, ...] = (
    *(ConvHead("auxiliary", filters) for filters in FILTERS),
    PixelHead("pixel"),
    PlaceHead("place"),
)
"""Auxiliary heads that a profile measures behind every unit where they fit, the preferred first."""

_ASKED: Mapping[HeadKind, tuple[AuxiliaryHead, ...]] = {
    "pooled-conv": (),
    "mlp": tuple(MlpHead("mlp", width) for width in WIDTHS),
    "lookahead": tuple(LookaheadHead("lookahead", thinning) for thinning in THINNINGS),
    "reconstruct": tuple(ReconstructHead("reconstruct", filters) for filters in FILTERS),
}
"""What is measured besides where a kind is asked for."""

HEAD_WORDS: Mapping[HeadKind, str] = {
    "pooled-conv": "pool, convolution, linear",
    "mlp": "pool, 1×1 convolutions, hidden layers",
    "lookahead": "copies of units of the rest of the network",
    "reconstruct": "pooled-conv, and a decoder of what the segment was given",
}
"""What each kind is, for people who choose: on the command line and the page."""

HEAD_CHOICES: Mapping[HeadChoice, str] = {
    "auto": "the kind, of those measured, that suits the preference best",
    **{kind: HEAD_WORDS[kind] for kind in get_args(HeadKind)},
}
"""The same, and what leaves the choice to the planner."""


def measured_heads(kind: HeadChoice | None) -> tuple[AuxiliaryHead, ...]:
    """The auxiliary heads that a profile measures, so that plans may be asked for a kind; none: the usual ones."""
    if kind == "auto":
        return MEASURED_HEADS + tuple(head for heads in _ASKED.values() for head in heads)
    return MEASURED_HEADS if kind is None else MEASURED_HEADS + _ASKED[kind]


def may_stand(head: AuxiliaryHead, kind: HeadKind | None) -> bool:
    """Whether a plan that is asked for a kind may have this head at a cut; none: whether it is a usual one."""
    if kind is None:
        return head.asked_as in (None, ConvHead.asked_as)
    return head.asked_as == kind
