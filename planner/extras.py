"""What a base installation lacks: packages that come with an extra. Who needs one says so before the work begins."""

from __future__ import annotations

from importlib.util import find_spec

_EXTRAS = {
    **{"httpx": "client", "matplotlib": "report", "torch": "torch"},
    **{"mlflow": "mlflow", "tensorboard": "tensorboard", "trackio": "trackio"},
}
"""The extra that brings a package."""


def lacks(package: str, what: str) -> str | None:
    """What to install where `what` (`drawing`, say) needs a package that is not there; None where it is."""
    if find_spec(package) is not None:
        return None
    return f"{what} needs {package}, which is not installed: pip install 'neuroflux-planner[{_EXTRAS[package]}]'"
