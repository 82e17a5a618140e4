from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from planner.errors import StorageError
from planner.profiler.library.applies import differences
from planner.profiler.library.store import ProfileStore
from planner.schema.codec import content_id, to_json
from planner.schema.common import OptimizerConfig
from planner.schema.profile import Profile
from planner.system.machine import probe
from tests.heads import conv_heads
from tests.unit.profiler import profiles
from tests.unit.profiler.profiles import here, request, with_torch
from tests.unit.system.support import environment, python


@pytest.fixture
def store(tmp_path: Path) -> ProfileStore:
    return ProfileStore(tmp_path / "store")


def must_not_measure() -> Profile:
    raise AssertionError("measured although a profile was there")


def test_what_is_kept_is_found_again_and_named_by_its_content(store: ProfileStore) -> None:
    profile = here()
    path = store.keep(request(), profile)
    assert path == store.folder / "objects" / f"{content_id(profile)}.json"
    assert store.find(request()) == profile
    assert store.obtain(request(), must_not_measure) == profile


def test_an_empty_store_holds_nothing(store: ProfileStore) -> None:
    assert store.find(request()) is None
    assert not store.folder.exists()


def test_what_decides_the_measurement_tells_profiles_apart(store: ProfileStore) -> None:
    store.keep(request(), here())
    others = (
        request(model=replace(request().model, classes=11)),
        request(optimizer=OptimizerConfig("adam", 0.05)),
        request(optimizer=OptimizerConfig("sgd", 0.05)),
        request(threads=2),
        request(heads=conv_heads(8)),
        request(dtype="bfloat16"),
        request(device="cuda"),
    )
    assert [store.find(other) for other in others] == [None] * 7
    assert store.find(request(optimizer=OptimizerConfig("sgd", 0.7, 0.5, weight_decay=0.1))) is not None


def test_profiles_of_the_processor_and_of_the_gpu_are_told_apart(store: ProfileStore) -> None:
    store.keep(request(device="cuda"), here(kind="cuda"))
    assert store.find(request()) is None
    store.keep(request(), here())
    for kind in ("cpu", "cuda"):
        found = store.find(request(device=kind))
        assert found is not None and found.device.kind == kind
        assert differences(found, with_torch(probe())) == ()


def test_a_profile_of_another_device_is_not_found(store: ProfileStore) -> None:
    store.keep(request(), profiles.of(profiles.FOREIGN))
    assert store.find(request()) is None


def test_a_smaller_batch_takes_the_closest_profile_that_covers_it(store: ProfileStore) -> None:
    middle, large = here(batch=64), here(batch=128)
    store.keep(request(128), large)
    assert store.find(request(64)) == large
    store.keep(request(64), middle)
    assert [store.find(request(size)) for size in (1, 64, 65, 128)] == [middle, middle, large, large]
    assert store.find(request(129)) is None


def test_where_limits_kept_a_batch_from_being_measured_only_that_batch_is_answered(store: ProfileStore) -> None:
    limited = here(batch=32)
    store.keep(request(128), limited)
    assert store.find(request(128)) == limited
    assert store.find(request(64)) is None
    assert store.find(request(32)) == limited


def test_fresh_measures_and_takes_the_place_of_what_was_there(store: ProfileStore) -> None:
    old = here()
    new = here(calibration_seconds=0.5)
    store.keep(request(), old)
    assert store.obtain(request(), lambda: new, fresh=True) == new
    assert store.find(request()) == new
    assert (store.folder / "objects" / f"{old.id}.json").exists()


def _object(store: ProfileStore) -> Path:
    (path,) = (store.folder / "objects").iterdir()
    return path


def _entry(store: ProfileStore) -> Path:
    (path,) = store.folder.glob("index/*/128")
    return path


def _point_to(store: ProfileStore, profile: Profile) -> None:
    (store.folder / "objects" / f"{profile.id}.json").write_text(to_json(profile))
    _entry(store).write_text(profile.id)


def _cut(store: ProfileStore) -> None:
    text = _object(store).read_bytes()
    _object(store).write_bytes(text[: len(text) // 2])


def _alter(store: ProfileStore) -> None:
    document = json.loads(_object(store).read_text())
    document["units"][0]["parameter_bytes"] += 4
    _object(store).write_text(json.dumps(document))


def _rename(store: ProfileStore) -> None:
    _object(store).rename(store.folder / "objects" / f"{'a' * 64}.json")
    _entry(store).write_text("a" * 64)


def _escape(store: ProfileStore) -> None:
    _object(store).rename(store.folder / "outside.json")
    _entry(store).write_text("../outside")


DAMAGE: dict[str, Callable[[ProfileStore], object]] = {
    "object cut short": _cut,
    "object altered": _alter,
    "object gone": lambda store: _object(store).unlink(),
    "object under another id": _rename,
    "index empty": lambda store: _entry(store).write_text(""),
    "index not text": lambda store: _entry(store).write_bytes(b"\xff\xfe\x00"),
    "index no name of a file": lambda store: _entry(store).write_text("\0"),
    "index leads outside": _escape,
    "index leads to another model": lambda store: _point_to(store, here(name="vgg11")),
    "index leads to another device": lambda store: _point_to(store, profiles.of(profiles.FOREIGN)),
    "index leads to another optimizer": lambda store: _point_to(store, here(optimizer=OptimizerConfig("adam", 0.1))),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_what_is_damaged_or_foreign_counts_as_none_and_is_measured_again(
    store: ProfileStore, damage: Callable[[ProfileStore], object]
) -> None:
    profile = here()
    store.keep(request(), profile)
    damage(store)
    assert store.find(request()) is None
    assert store.obtain(request(), lambda: profile) == profile
    assert store.find(request()) == profile


def test_files_that_are_not_ours_are_passed_over(store: ProfileStore) -> None:
    profile = here()
    store.keep(request(), profile)
    for name in (".128.0a1b.partial", "notes", "-5", "256"):
        _entry(store).with_name(name).write_text("anything")
    assert store.find(request()) == profile


def test_a_store_that_cannot_be_made_is_said_before_anything_is_measured(tmp_path: Path) -> None:
    (tmp_path / "store").touch()
    with pytest.raises(StorageError):
        ProfileStore(tmp_path / "store").obtain(request(), must_not_measure)


# Says `measuring` and goes on when told to, or `waiting` when another process measures; then says what it got.
OBTAIN = """
    import sys
    from pathlib import Path
    from planner.profiler.library.store import ProfileStore
    from tests.unit.profiler.profiles import here, request

    def say(word):
        print(word, flush=True)

    def measure():
        say("measuring")
        sys.stdin.readline()
        return here(calibration_seconds=float(sys.argv[2]))

    found = ProfileStore(Path(sys.argv[1])).obtain(request(), measure, waiting=lambda: say("waiting"))
    say(found.calibration_seconds)
"""


def _start(store: ProfileStore, mark: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        python(OBTAIN, str(store.folder), str(mark)),
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _hear(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_of_two_processes_one_measures_and_the_other_waits_for_its_profile(store: ProfileStore) -> None:
    with _start(store, 1.0) as first, _start_after(first, store, 2.0) as second:
        assert _hear(second) == "waiting"
        assert first.communicate("go on\n", timeout=60)[0] == "1.0\n"
        assert second.communicate(timeout=60)[0] == "1.0\n"


def test_a_measuring_process_that_is_killed_leaves_the_way_free(store: ProfileStore) -> None:
    with _start(store, 1.0) as first, _start_after(first, store, 2.0) as second:
        assert _hear(second) == "waiting"
        os.kill(first.pid, signal.SIGKILL)
        assert _hear(second) == "measuring"
        assert second.communicate("go on\n", timeout=60)[0] == "2.0\n"


def _start_after(first: subprocess.Popen[str], store: ProfileStore, mark: float) -> subprocess.Popen[str]:
    assert _hear(first) == "measuring"
    return _start(store, mark)


def test_a_reader_never_meets_half_of_what_another_process_writes(store: ProfileStore) -> None:
    code = """
        import sys
        from pathlib import Path
        from planner.profiler.library.store import ProfileStore
        from tests.unit.profiler.profiles import here, request
        store = ProfileStore(Path(sys.argv[1]))
        both = [here(calibration_seconds=mark) for mark in (1.0, 2.0)]
        for turn in range(60):
            store.keep(request(), both[turn % 2])
            if turn == 0:
                print("there", flush=True)
    """
    with subprocess.Popen(
        python(code, str(store.folder)), env=environment(), stdout=subprocess.PIPE, text=True
    ) as writer:
        assert _hear(writer) == "there"
        while writer.poll() is None:
            found = store.find(request())
            assert found is not None
            assert found.calibration_seconds in (1.0, 2.0)
    assert writer.returncode == 0
