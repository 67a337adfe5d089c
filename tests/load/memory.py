"""What processes take of memory, as the kernel counts it, and how many files they may open."""

import resource
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

KIB = 1024
MIB = 1024 * KIB


def pss(pids: Iterable[int]) -> int:
    """The bytes of these processes' memory; pages they share with others count in part."""
    return sum(_field(pid, "Pss:") for pid in pids)


def alone(pids: Iterable[int]) -> int:
    """As if nothing else ran: their own pages, and what files they have mapped, once."""
    pids = list(pids)
    own = sum(_field(pid, "Private_Clean:") + _field(pid, "Private_Dirty:") for pid in pids)
    return own + max(_field(pid, "Shared_Clean:") + _field(pid, "Shared_Dirty:") for pid in pids)


def _field(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * KIB for line in lines if line.startswith(name))


@contextmanager
def open_files(wanted: int) -> Iterator[None]:
    """This process, and those that it starts meanwhile, may open so many; else the test is skipped."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"{wanted} open files are needed, {hard} are allowed here: raise `ulimit -Hn`")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
