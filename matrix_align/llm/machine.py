"""What this process may use of its machine: free memory and cores. The limits of containers and batch systems count.

Knows no model.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

# Linux's control groups, by which containers and batch systems are limited, and those that this process is in.
GROUPS, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def free_memory() -> int:
    """The bytes of memory that can be had without swapping."""
    return max(0, min([int(psutil.virtual_memory().available), *_left_in_groups()]))


def cores() -> int:
    """The number of cores, at least 1. A share of a core counts as a whole one."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([allowed, *_cores_of_groups()]))


def _left_in_groups() -> Iterator[int]:
    """What each limit of memory leaves. The cache of files is not counted as used: the system gives it back."""
    for folder in _groups("memory"):
        with suppress(OSError, ValueError):
            if (folder / "memory.max").exists():
                limit, used, cache = "memory.max", "memory.current", ("active_file", "inactive_file")
            else:  # version 1 of control groups
                limit, used = "memory.limit_in_bytes", "memory.usage_in_bytes"
                cache = ("total_active_file", "total_inactive_file")
            most = int((folder / limit).read_text())  # "max" is no number: no limit
            kinds = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            yield most - int((folder / used).read_text()) + sum(int(kinds.get(kind, 0)) for kind in cache)


def _cores_of_groups() -> Iterator[int]:
    """How many cores' time each limit allows."""
    for folder in _groups("cpu"):
        with suppress(OSError, ValueError):
            if (folder / "cpu.max").exists():
                quota, period = map(int, (folder / "cpu.max").read_text().split())
            else:
                quota, period = (int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
            if quota > 0:  # version 1 has -1 for no limit
                yield math.ceil(quota / period)


def _groups(controller: str) -> Iterator[Path]:
    """The folders of the control groups that this process is in, from its own to the outermost."""
    with suppress(OSError, ValueError):
        for line in OWN.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and controller not in controllers.split(","):
                continue
            top = GROUPS / controller if controllers else GROUPS
            own = top / path.lstrip("/")
            yield from (folder for folder in (own, *own.parents) if folder.is_relative_to(top))
