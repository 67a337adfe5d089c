"""The Python that Postern is measured with: the quickest found, in a venv of the locked versions."""

import glob
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / "build/bench-venv"

# Configure arguments don't tell whether a build was trained and optimised (Debian's says nothing, and is),
# so a moment of plain bytecode is timed. Prints: version, flags, seconds.
PROBE = """
import platform, sys, sysconfig, time
def work():
    counts, start = {}, time.perf_counter()
    for number in range(200_000):
        key = b"%d" % (number & 1023)
        counts[key] = counts.get(key, 0) + 1
        pair = [each for each in (key, number)]
    return time.perf_counter() - start
arguments = sysconfig.get_config_var("CONFIG_ARGS") or ""
known = [flag for flag in ("--enable-optimizations", "--with-lto", "--enable-shared") if flag in arguments]
optimiser = [flag for flag in (sysconfig.get_config_var("OPT") or "").split() if flag.startswith("-O")]
print(platform.python_version(), platform.python_compiler(), *optimiser, *known, sep=" ")
print(min(work() for _ in range(7)))
"""


class Interpreter(NamedTuple):
    path: str
    build: str  # version, compiler, what is known of its flags
    seconds: float  # of the probe


def choose() -> Interpreter:
    """BENCH_PYTHON, or the quickest of all that are found."""
    named = os.environ.get("BENCH_PYTHON")
    if named:
        path = shutil.which(named)
        chosen = path and probe(path)
        if not chosen:
            sys.exit(f"BENCH_PYTHON={named} is not a Python 3.11, 3.12 or 3.13 that starts")
        return chosen
    found = {each.build: each for each in map(probe, candidates()) if each}
    if not found:
        sys.exit("No Python 3.11 to 3.13 found; name one: make bench-quick BENCH_PYTHON=python3.12")
    return min(found.values(), key=lambda each: each.seconds)


def candidates() -> list[str]:
    folders = os.environ.get("PATH", "").split(":") + ["/usr/bin", "/usr/local/bin", "/opt/homebrew/bin"]
    folders += glob.glob(os.path.expanduser("~/.pyenv/versions/*/bin"))
    names = ("python3", "python3.11", "python3.12", "python3.13")
    paths = [os.path.join(folder, name) for folder in folders for name in names]
    return sorted({os.path.realpath(path) for path in paths if os.access(path, os.X_OK)})


def probe(path: str) -> Interpreter | None:
    versions = "import sys; assert (3, 11) <= sys.version_info < (3, 14); import ssl, venv\n"
    done = subprocess.run([path, "-c", versions + PROBE], capture_output=True, text=True, check=False)
    if done.returncode:
        return None
    build, seconds = done.stdout.splitlines()
    return Interpreter(path, build, float(seconds))


def environment(interpreter: Interpreter) -> Path:
    """Its folder of programs; made once per interpreter and lock."""
    lock = (ROOT / "requirements.lock").read_bytes()
    project = (ROOT / "pyproject.toml").read_bytes()
    made_of = hashlib.sha256(
        interpreter.path.encode() + interpreter.build.encode() + lock + project
    ).hexdigest()
    stamp = VENV / ".made_of"
    programs = VENV / "bin"
    if stamp.is_file() and stamp.read_text() == made_of:
        return programs
    shutil.rmtree(VENV, ignore_errors=True)
    pip = [str(programs / "python"), "-m", "pip", "install", "-q"]
    print("Installing the locked versions into build/bench-venv (once) ...", flush=True)
    for command in (
        [interpreter.path, "-m", "venv", str(VENV)],
        [*pip, "--require-hashes", "-r", str(ROOT / "requirements.lock")],
        [*pip, "--no-deps", "--no-build-isolation", "-e", str(ROOT)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(done.stdout, done.stderr, sep="", file=sys.stderr)
            sys.exit("That failed; on Debian and Ubuntu apt-get install python3-venv may be missing.")
    stamp.write_text(made_of)
    return programs
