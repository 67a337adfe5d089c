"""Runs the real supervisor with stand-ins: a compiler of JSON snapshots, worker, identity service."""

import sys
from pathlib import Path

import msgspec

from gateway.config import service
from gateway.config.snapshot import Snapshot, encode
from gateway.supervisor import Options, run

HERE = Path(__file__).resolve()
ROOT = HERE.parents[2]
# What is run as a file finds only its own folder, and neither `tests` nor what the stand-ins share.
AS_A_PROGRAM = """
import runpy, sys
sys.path[0], module = sys.argv.pop(1), sys.argv.pop(1)
runpy.run_module(f"tests.processes.{module}", run_name="__main__")
"""


def compile_file(path: str) -> int:
    try:
        snapshot = msgspec.json.decode(Path(path).read_bytes(), type=Snapshot)
    except (OSError, msgspec.DecodeError) as error:
        print(f"{path}:1: {error}", file=sys.stderr)
        return 1
    files = (*snapshot.files, path)
    made = encode(msgspec.structs.replace(snapshot, files=files))
    word = msgspec.json.decode(Path(path).read_bytes()).get("service_of_identity", "")
    sys.stdout.buffer.write(service.encode(service.Compiled(made, word.encode())))
    return 0


if __name__ == "__main__":
    if sys.argv[1] == "compile":
        sys.exit(compile_file(sys.argv[2]))
    python = sys.executable
    options = Options(
        routes=sys.argv[1],
        data=sys.argv[2],
        compiler=(python, str(HERE), "compile"),
        worker=(python, "-c", AS_A_PROGRAM, str(ROOT), "stand_in_worker"),
        identity=(python, "-c", AS_A_PROGRAM, str(ROOT), "stand_in_identity"),
    )
    sys.exit(run(options))
