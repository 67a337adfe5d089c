"""What a worker tells when asked for its counts: counters as they are, gauges looked up at that moment."""

from collections import Counter as Tally
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from gateway.edge.counters import Counters
from gateway.edge.states import DRAINING, GATHERING, JUDGING, SENDING, SENT, TUNNEL
from gateway.model.metrics import Sample

if TYPE_CHECKING:
    from gateway.edge.downstream import Downstream
    from gateway.edge.identities import Identities
    from gateway.edge.leases import Leases
    from gateway.edge.live import Live

_BUSY = frozenset({JUDGING, GATHERING, SENDING, SENT, TUNNEL, DRAINING})


def samples(
    counters: Counters,
    live: "Live",
    connections: Iterable["Downstream"],
    dropped: int,
    identities: "Identities",
    leases: "Leases",
) -> list[Any]:
    """As they go over the control socket."""
    collected = list(counters.samples())
    in_flight = Tally({route.name: 0 for route in live.routes})
    count = 0
    for connection in connections:
        count += 1
        if connection.phase in _BUSY:
            in_flight[connection.exchange.route.name] += 1
    collected += [Sample("requests_in_flight", (name,), value) for name, value in in_flight.items()]
    collected.append(Sample("connections", (), count))
    collected.append(Sample("log_lines_dropped_total", (), dropped))
    for name, pool in live.pools.items():
        usable = pool.group.usable()
        servers = pool.group.servers
        for server in servers:
            collected.append(Sample("upstream_healthy", (name, server.name), float(server in usable)))
        idle = sum(len(server.idle) for server in servers)
        collected.append(Sample("upstream_connections", (name, "idle"), idle))
        collected.append(Sample("upstream_connections", (name, "busy"), sum(s.open for s in servers) - idle))
    collected += identities.samples(counters.identified())
    collected += leases.samples()
    return collected
