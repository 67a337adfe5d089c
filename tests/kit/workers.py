"""Which of the gateway's processes holds a connection, as the kernel tells; connections to each of them."""

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.kit.gateway import Gateway
from tests.kit.raw import Client, request

TRIES = 200  # connections: each goes to a worker by the hash of its ports


def worker_pids(gateway: Gateway) -> list[int]:
    """The pids of the workers that accept now, by their place."""
    parts = json.loads(gateway.ask("/health").body)["parts"]
    return [worker["pid"] for worker in parts["workers"] if worker["state"] == "ready"]


def holder(client: Client, pids: list[int]) -> int:
    """The process that has the other end of this connection; 0 when none of these has."""
    ours, theirs = client.sock.getsockname(), client.sock.getpeername()
    wanted = hexed(theirs), hexed(ours)
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if (fields[1], fields[2]) == wanted:
            mark = f"socket:[{fields[9]}]"
            return next((pid for pid in pids if mark in sockets(pid)), 0)
    return 0


def hexed(address: tuple[str, int]) -> str:
    """As /proc/net/tcp writes it: the bytes of the address in the machine's order."""
    host = bytes(int(part) for part in address[0].split("."))
    return f"{int.from_bytes(host, 'little'):08X}:{address[1]:04X}"


def sockets(pid: int) -> set[str]:
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.add(os.readlink(entry))
        except OSError:
            continue
    return found


@contextmanager
def one_each(gateway: Gateway, path: str, source: str = "127.0.0.1") -> Iterator[dict[int, Client]]:
    """An open connection to each worker, by its pid. `path` is one that anybody may ask for."""
    pids = worker_pids(gateway)
    with ExitStack() as stack:
        found: dict[int, Client] = {}
        for _ in range(TRIES):
            client = stack.enter_context(Client(gateway.port, source=source))
            client.send(request(path)).reply()
            found.setdefault(holder(client, pids), client)
            if set(pids) <= set(found):
                break
        assert set(pids) == set(found), f"workers {pids} have the connections {found}"
        yield found
