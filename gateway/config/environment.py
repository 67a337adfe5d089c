"""The environment of our processes: the few variables that they need, and none that may be a secret."""

import os
from collections.abc import Mapping
from pathlib import Path

import gateway

# What our processes need of the environment. Everything else may be a secret, and stays with the supervisor.
_PASSED = frozenset(
    {
        "PATH", "LANG", "LANGUAGE", "TZ", "TZDIR", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH",
        "PYTHONPATH", "PYTHONHOME", "PYTHONHASHSEED", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX",
        "PYTHONUNBUFFERED", "PYTHONDEVMODE", "PYTHONWARNINGS", "PYTHONMALLOC", "PYTHONFAULTHANDLER",
        "SSL_CERT_FILE", "SSL_CERT_DIR", "RES_OPTIONS", "LOCALDOMAIN", "MALLOC_ARENA_MAX", "NO_COLOR",
    }
)  # fmt: skip

# In the identity service a hash takes 19 MiB, which go back when they are mapped by themselves. In workers
# uvloop reserves 256 KiB for each TLS connection and uses little of it. Once such a buffer was freed, glibc
# would take the next ones from the heap, where they are dirty: twice the memory of an idle connection. With
# fixed thresholds each is mapped by itself, and the heap's end is not given back after each large read.
_MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(256 * 1024), "MALLOC_TRIM_THRESHOLD_": str(1024 * 1024)}


def worker_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The few variables that a worker, or the identity service, is given."""
    kept = {name: value for name, value in environment.items() if name in _PASSED or name.startswith("LC_")}
    return with_our_packages(kept | _MALLOC)


def with_our_packages(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment in which `python -m gateway…` finds our packages, and not a stranger's.

    The working directory is the user's: a folder there named like one of our packages must not be imported.
    """
    result = dict(environment)
    result["PYTHONSAFEPATH"] = "1"
    root = Path(gateway.__file__).resolve().parent.parent
    if root.name not in ("site-packages", "dist-packages"):  # run from a source tree
        before = environment.get("PYTHONPATH")
        result["PYTHONPATH"] = f"{root}{os.pathsep}{before}" if before else str(root)
    return result
