"""How every picture looks, and how it is written. matplotlib is an extra, and imported only when something is drawn."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from planner.errors import InputError
from planner.extras import lacks
from planner.system.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette, made to be told apart with every kind of colour vision.
BLUE = "#0072B2"
GREEN = "#009E73"
ORANGE = "#E69F00"
SKY = "#56B4E9"
VERMILLION = "#D55E00"
YELLOW = "#F0E442"

_STYLE = {
    "font.family": ["sans-serif"],
    "font.size": 10,
    "svg.fonttype": "none",
    "svg.hashsalt": "neuroflux",
    "text.parse_math": False,
}


def check_drawing() -> None:
    """Raise InputError where pictures cannot be drawn, for lack of matplotlib."""
    missing = lacks("matplotlib", "drawing")
    if missing is not None:
        raise InputError(missing)


@contextmanager
def matplotlib_style() -> Iterator[None]:
    """matplotlib with its defaults and ours: what a person has configured would change the picture.

    Raises InputError where matplotlib is not installed.
    """
    check_drawing()
    from matplotlib import style

    with style.context(["default", _STYLE]), warnings.catch_warnings():
        # A name in a script the measuring font lacks: the text goes into the file as text all the same.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield


def write_svg(figure: Figure, path: Path) -> None:
    """Write a figure as SVG, its heading also as the title that a screen reader says; the same figure, the same bytes.

    Raises StorageError where `path` cannot be written.
    """
    picture = io.BytesIO()
    figure.savefig(picture, format="svg", metadata={"Date": None, "Title": figure.get_suptitle()})
    write_atomically(path, picture.getvalue())
