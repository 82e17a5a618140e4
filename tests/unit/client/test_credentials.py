"""Tokens of services that know this device."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner.client.credentials import KnownService, remember, service_address, token_for, token_given
from planner.errors import InputError


def test_a_token_is_kept_for_its_service_alone_and_privately(tmp_path: Path) -> None:
    file = tmp_path / "neuroflux" / "servers.json"
    remember(KnownService("http://one:8000", "d1", "t1"), file)
    remember(KnownService("http://two:8000", "d2", "t2"), file)
    remember(KnownService("http://one:8000", "d3", "t3"), file)
    assert token_for("http://ONE:8000/v1/plans/x", file) == "t3"
    assert token_for("http://two:8000", file) == "t2"
    for other in ("http://one:8001", "https://one:8000", "http://one.evil.example:8000"):
        assert token_for(other, file) is None
    assert file.stat().st_mode & 0o077 == 0
    file.chmod(0o644)
    with pytest.raises(InputError, match="chmod 600"):
        token_for("http://one:8000", file)


@pytest.mark.parametrize(
    "url", ["", "one:8000", "ftp://one", "http://", "http://u:p@one", "http://one:x", "file:///etc"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(InputError, match="not the address of a service"):
        service_address(url)


def test_a_token_that_somebody_names_is_theirs_alone_and_is_one(tmp_path: Path) -> None:
    file = tmp_path / "own.token"
    with pytest.raises(InputError, match="cannot be read"):
        token_given("http://one:8000", file)
    file.touch(0o600)
    for none in ("", "\n", "two words", "zwölf"):
        file.write_text(none)
        with pytest.raises(InputError, match="does not hold a token"):
            token_given("http://one:8000", file)
    file.write_text("nfx_1\n")
    assert token_given("http://one:8000", file) == "nfx_1"
    file.chmod(0o644)
    with pytest.raises(InputError, match="chmod 600"):
        token_given("http://one:8000", file)
