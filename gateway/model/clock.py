"""The clock that leases, ages and expiries are told by: it runs on while the machine sleeps."""

import time
from collections.abc import Callable
from functools import partial

# CLOCK_BOOTTIME counts while the machine sleeps; macOS has none, there the monotonic clock does
boottime: Callable[[], float] = partial(
    time.clock_gettime, getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
)
