"""A disk that is really full: an error that says so, the last checkpoint untouched, and on from there later."""

from __future__ import annotations

from pathlib import Path

from planner.schema.codec import to_json
from planner.units import MIB
from tests.fault.support import small_plan
from tests.unit.system.support import mounting, run_child

# A file takes up all but a little of the file system; then it goes, as somebody makes space.
_CODE = """
    import json, shutil, subprocess, sys
    from pathlib import Path
    plan, folder, left = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    out = folder / "out"
    command = [sys.executable, "-m", "planner.cli.main", "run", str(plan), "--data", "sample", "--out", str(out),
               "--max-steps", "40", "--checkpoint-seconds", "0", "--quiet"]
    ballast = folder / "ballast"
    def fill(left):
        with ballast.open("wb") as file:
            while shutil.disk_usage(folder).free > left:
                file.write(bytes(65536))
                file.flush()
    fill(left)
    full = subprocess.run(command, capture_output=True, text=True)
    kept = sorted(str(file.relative_to(out)) for file in out.rglob("*") if file.is_file())
    ballast.unlink()
    again = subprocess.run([*command, "--resume"], capture_output=True, text=True)
    model = out / "model.safetensors"
    whole = folder / "whole"
    command[command.index(str(out))] = str(whole)
    reference = subprocess.run(command, capture_output=True, text=True)
    same = again.returncode == reference.returncode == 0 and model.read_bytes() == (whole / model.name).read_bytes()
    print(json.dumps([full.returncode, full.stderr, kept, again.returncode, again.stderr, same]))
"""


def test_a_full_disk_costs_nothing_but_time(tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text(to_json(small_plan()))
    disk = tmp_path / "disk"
    disk.mkdir()
    # Enough for the unpacked images and a few checkpoints, not for the first block's activation cache.
    code, said, kept, resumed, why, same = run_child(
        _CODE, str(plan), str(disk), str(8 * MIB), wrapper=mounting(disk, "size=64m")
    )
    assert code == 4
    assert "storage is full" in said and "Traceback" not in said
    assert "weights/block-000.safetensors" in kept
    assert not [name for name in kept if name.endswith(".partial")]
    assert resumed == 0, why
    assert same
