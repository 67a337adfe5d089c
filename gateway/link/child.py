"""How a child of the supervisor begins, worker or identity service: its log, and its control socket."""

import logging
import socket
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import uvloop

from gateway.link.service_lines import Lines


def main(argv: Sequence[str], module: str, serve: Callable[[socket.socket], Coroutine[Any, Any, int]]) -> int:
    """The exit code of `python -m MODULE --control FD`."""
    if len(argv) != 3 or argv[1] != "--control":
        sys.stderr.write(f"{module} is started by `postern run`\n")
        return 2
    set_up_logging()
    return uvloop.run(serve(socket.socket(fileno=int(argv[2]))))


def set_up_logging() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(Lines(readable=sys.stderr.isatty()))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
