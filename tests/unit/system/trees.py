"""Files of /proc and /sys as other machines have them, laid out in a folder."""

from __future__ import annotations

from pathlib import Path

NO_LIMIT_V1 = "9223372036854771712"

V1_MOUNTS = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
31 23 0:28 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
34 31 0:31 {top} /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 {top} /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""

V2_MOUNTS = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
41 31 0:38 {top} /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate
"""


def write(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def meminfo(total_kib: int, available_kib: int, swap_kib: int = 0) -> dict[str, str]:
    return {
        "proc/meminfo": (
            f"MemTotal:       {total_kib} kB\nMemFree:         1000 kB\nMemAvailable:   {available_kib} kB\n"
            f"SwapCached:            0 kB\nSwapTotal:      {swap_kib} kB\nSwapFree:              0 kB\n"
        )
    }


def v1(group: str, top: str = "/") -> dict[str, str]:
    return {
        "proc/self/mountinfo": V1_MOUNTS.format(top=top),
        "proc/self/cgroup": f"9:name=systemd:/\n4:memory:{group}\n2:cpu,cpuacct:{group}\n0::/\n",
        "sys/fs/cgroup/unified/cgroup.controllers": "hugetlb\n",
    }


def v2(group: str, top: str = "/", controllers: str = "cpuset cpu io memory pids") -> dict[str, str]:
    return {
        "proc/self/mountinfo": V2_MOUNTS.format(top=top),
        "proc/self/cgroup": f"0::{group}\n",
        "sys/fs/cgroup/cgroup.controllers": controllers + "\n",
    }
