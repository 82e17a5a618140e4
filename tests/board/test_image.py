"""What can be said of boards without booting one; part of `make test`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.board import image


def test_what_is_missing_is_named_by_the_package_that_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image, "_environment", lambda: {"PATH": str(tmp_path)})
    with pytest.raises(image.UnavailableError, match=r"this machine lacks .*qemu-system-arm"):
        image.check_tools()


def test_everything_beside_torch_is_pinned_by_the_lock() -> None:
    names = {requirement.split("==")[0] for requirement in image._wheels()}
    assert names == {*image._WHEELS, *image._WHEELS_OF_TORCH}


def test_a_disk_is_made_anew_for_another_torch_and_another_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {image._key("2.9.1", *image._wheels()), image._key("2.10.0", *image._wheels())}
    monkeypatch.setattr(image, "_WHEELS", ("numpy",))
    assert len(keys | {image._key("2.9.1", *image._wheels())}) == 3


def test_a_download_that_fails_makes_boards_unavailable(tmp_path: Path) -> None:
    with pytest.raises(image.UnavailableError, match=r"python.* ended with"):
        image._fetch([*image._PIP, "download", "--no-index", "--dest", str(tmp_path), "no-such-package"])
