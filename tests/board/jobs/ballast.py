"""Somebody else's process: takes memory until only so much is available, and keeps it. `python3 ballast.py BYTES FILE`.

FILE appears when it has it.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from planner.system.memory import available_bytes

if __name__ == "__main__":
    size = max(0, available_bytes() - int(sys.argv[1]))
    memory = bytearray(size)
    for start in range(0, size, 4096):
        memory[start] = 1
    Path(sys.argv[2]).write_text(f"{size}\n")
    while True:
        time.sleep(60)
