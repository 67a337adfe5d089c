"""An edge as a process of its own, with one identity cached: says each time that it uses it.

python -m tests.link.edge_process SOCKET NAME SERVE_STALE
"""

import asyncio
import logging
import os
import sys
import time

import uvloop

from gateway.link.client import QUIET, Link, Push, now


async def serve(path: str, name: str, serve_stale: float) -> None:
    cached = {"s"}

    def heard(push: Push) -> None:
        cached.discard(push.session)

    hello = {"edge": name, "pid": os.getpid(), "serve_stale": serve_stale}
    link = Link(
        asyncio.get_running_loop(), path, hello, heard, lambda: None, lambda: None, logging.getLogger(name)
    )
    link.start()
    while not link.up:
        await asyncio.sleep(0.01)
    while True:
        vouched = now() - link.last_answer <= QUIET or await link.fresh() or now() < link.lease + serve_stale
        if vouched and "s" in cached:
            print(time.time(), flush=True)
        await asyncio.sleep(0.005)


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], sys.argv[2], float(sys.argv[3])))
