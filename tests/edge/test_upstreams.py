"""Upstreams of a running gateway: others take over from a server that is down, and it returns."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from tests.kit.gateway import Gateway, free_port, run_gateway
from tests.kit.line import Line, Received
from tests.kit.raw import Answer, Client, exchange, get, request
from tests.kit.scripts import answer, gated, in_turn, message, raw
from tests.kit.upstream import RecordingUpstream

ROUTE = """
defaults: {policies: {authenticate: none}}
routes:
  - {name: app, match: {path: /**}, upstream: app}
"""


def routes(servers: list[str], more: str = "", route: str = ROUTE) -> str:
    return f"upstreams:\n  app: {{servers: [{', '.join(servers)}]{more and ', ' + more}}}\n{route}"


def post(gateway: "Configured", target: str, body: bytes = b"once") -> Answer:
    return exchange(gateway.port, request(target, method=b"POST", body=body), most=1).replies[0]


def until(true: Callable[[], bool], patience: float = 20.0) -> None:
    deadline = time.monotonic() + patience
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(scope="module")
def shared() -> Iterator[Gateway]:
    """One for most of these tests: each gives it a configuration of its own."""
    with run_gateway(routes(["http://127.0.0.1:1"])) as gateway:
        yield gateway


class Configured:
    """The gateway under a configuration, and what it has counted and logged since it has that."""

    def __init__(self, gateway: Gateway, yaml: str) -> None:
        self.port, self.reload = gateway.port, gateway.reload
        self._gateway, self._logged = gateway, len(gateway.log_lines())
        self._counted = gateway.metrics()
        assert gateway.reload(yaml).status == 200, gateway.errors()

    def metrics(self) -> dict[str, float]:
        before = self._counted
        return {
            name: value - (before.get(name, 0) if "_total{" in name else 0)
            for name, value in self._gateway.metrics().items()
        }

    def log_lines(self) -> list[str]:
        return self._gateway.log_lines()[self._logged :]

    def says(self, text: str) -> int:
        """How many lines have it; a server's address is of this test alone."""
        return sum(text in line for line in self.log_lines())


@contextmanager
def configured(gateway: Gateway, yaml: str) -> Iterator[Configured]:
    yield Configured(gateway, yaml)


@pytest.fixture
def pair() -> Iterator[tuple[RecordingUpstream, RecordingUpstream]]:
    with RecordingUpstream() as one, RecordingUpstream() as other:
        one.reply(answer(b"one"))
        other.reply(answer(b"other"))
        yield one, other


Pair = tuple[RecordingUpstream, RecordingUpstream]


def send_for_a_while(client: Client, data: bytes) -> None:
    """As much of it as is taken."""
    client.sock.settimeout(0.2)
    with suppress(TimeoutError):
        client.send(data)
    client.sock.settimeout(10)


def bodies(gateway: "Configured", count: int) -> Counter[bytes]:
    return Counter(get(gateway.port, "/").body for _ in range(count))


def test_a_refused_connection_is_tried_on_another_server_whatever_the_method(shared: Gateway) -> None:
    with RecordingUpstream() as alive:
        dead = f"http://127.0.0.1:{free_port()}"
        with configured(shared, routes([dead, alive.url], "balance: round_robin")) as gateway:
            for number in range(30):
                assert post(gateway, f"/{number}").status == 200
                assert get(gateway.port, f"/{number}").status == 200
            metrics = gateway.metrics()
            assert metrics['postern_upstream_errors_total{kind="connect",upstream="app"}'] == 5
            assert metrics[f'postern_upstream_healthy{{server="{dead}",upstream="app"}}'] == 0
            assert metrics[f'postern_upstream_healthy{{server="{alive.url}",upstream="app"}}'] == 1
        assert Counter(seen.body for seen in alive.requests) == {b"once": 30, b"": 30}


def test_a_server_that_stops_is_left_and_one_that_starts_is_found_again(shared: Gateway) -> None:
    with ExitStack() as stack:
        stays = stack.enter_context(RecordingUpstream())
        leaves = RecordingUpstream()
        port, more = leaves.port, "balance: round_robin, outlier: {failures: 3, eject: 100ms}"
        with configured(shared, routes([stays.url, leaves.url], more)) as gateway:
            assert {get(gateway.port, "/").status for _ in range(10)} == {200}
            assert leaves.requests
            leaves.close()
            assert {post(gateway, "/").status for _ in range(30)} == {200}
            again = stack.enter_context(RecordingUpstream(port=port))

            def reached() -> bool:
                assert get(gateway.port, "/").status == 200
                return bool(again.requests)

            until(reached)


def test_when_all_are_down_the_answer_is_503(shared: Gateway) -> None:
    dead = [f"http://127.0.0.1:{free_port()}" for _ in range(2)]
    with configured(shared, routes(dead)) as gateway:
        for _ in range(12):
            reply = get(gateway.port, "/")
            assert (reply.status, reply.code) == (503, "upstream_unavailable")


def test_a_server_that_fails_its_checks_gets_no_requests_until_it_passes_them(
    shared: Gateway, pair: Pair
) -> None:
    one, other = pair
    health = "balance: round_robin, health: {path: /healthz, every: 50ms, healthy: 2, unhealthy: 2}"
    one.reply(answer(b"down", status=503), b"/healthz")
    with configured(shared, routes([one.url, other.url], health)) as gateway:
        name = f'postern_upstream_healthy{{server="{one.url}",upstream="app"}}'
        until(lambda: gateway.metrics()[name] == 0)
        assert bodies(gateway, 20) == {b"other": 20}
        one.reply(answer(b"up"), b"/healthz")
        until(lambda: gateway.metrics()[name] == 1)
        assert bodies(gateway, 20) == {b"one": 10, b"other": 10}
        assert gateway.says(f"{one.url} is unhealthy: answered 503") == 1
        assert gateway.says(f"{one.url} is healthy again") == 1


def test_the_last_server_is_used_even_when_its_checks_fail(shared: Gateway, pair: Pair) -> None:
    for upstream in pair:
        upstream.reply(answer(b"down", status=503), b"/healthz")
    health = "health: {path: /healthz, every: 20ms, unhealthy: 1}"
    with configured(shared, routes([upstream.url for upstream in pair], health)) as gateway:
        until(lambda: all(gateway.says(f"{upstream.url} is unhealthy") for upstream in pair))
        assert len(bodies(gateway, 20)) == 1
        assert get(gateway.port, "/").status == 200


def test_weights_are_shares(shared: Gateway, pair: Pair) -> None:
    one, other = pair
    weighted = [one.url, f"{{url: {other.url!r}, weight: 2}}"]
    for balance in ("round_robin", "least_requests"):
        with configured(shared, routes(weighted, f"balance: {balance}")) as gateway:
            assert bodies(gateway, 30) == {b"one": 10, b"other": 20}


def test_the_less_busy_server_takes_the_next_request(shared: Gateway, pair: Pair) -> None:
    one, other = pair
    gate = threading.Event()
    busy = gated(b"", gate, b"HTTP/1.1 200 Fine\r\nContent-Length: 4\r\n\r\nheld")
    one.reply(busy, b"/held")
    other.reply(busy, b"/held")
    with configured(shared, routes([one.url, other.url])) as gateway:
        held: list[Answer] = []
        thread = threading.Thread(target=lambda: held.append(get(gateway.port, "/held")))
        thread.start()
        until(lambda: bool(one.requests or other.requests))
        free = b"other" if one.requests else b"one"
        assert bodies(gateway, 20) == {free: 20}
        gate.set()
        thread.join(10)
        assert held[0].body == b"held"


def test_one_address_keeps_its_server(pair: Pair) -> None:
    for balance in ("hash_ip", "hash_user"):
        with run_gateway(
            routes([upstream.url for upstream in pair], f"balance: {balance}"), workers=2
        ) as gateway:
            seen = {
                source: {get(gateway.port, "/", source=source).body for _ in range(6)}
                for source in (f"127.0.0.{number}" for number in range(1, 21))
            }
            assert all(len(servers) == 1 for servers in seen.values())
            assert set().union(*seen.values()) == {b"one", b"other"}


def test_a_server_by_name_is_reached_on_whichever_address_it_has(shared: Gateway) -> None:
    with RecordingUpstream() as upstream:
        with configured(shared, routes([f"http://localhost:{upstream.port}"])) as gateway:
            assert {post(gateway, "/").status for _ in range(20)} == {200}
        assert {seen.body for seen in upstream.requests} == {b"once"}


def test_a_name_that_is_unknown_harms_nobody_else(shared: Gateway) -> None:
    with RecordingUpstream() as upstream:
        servers = ["http://nothing.invalid", upstream.url]
        with configured(shared, routes(servers)) as gateway:
            assert {get(gateway.port, "/").status for _ in range(10)} == {200}
        with configured(shared, routes(servers[:1])) as gateway:
            reply = get(gateway.port, "/")
            assert (reply.status, reply.code) == (503, "upstream_unavailable")
            until(lambda: any("nothing.invalid can't be resolved" in line for line in gateway.log_lines()))


def test_a_reload_keeps_connections_to_servers_that_stay_and_closes_the_others(
    shared: Gateway, pair: Pair
) -> None:
    one, other = pair
    with configured(shared, routes([one.url, other.url], "balance: round_robin")) as gateway:
        bodies(gateway, 4)
        assert (one.connections, other.connections) == (1, 1)
        more = ROUTE + "  - {name: more, match: {path: /more}, upstream: app}\n"
        assert gateway.reload(routes([one.url], route=more)).status == 200
        assert other.wait_closed(0)
        assert bodies(gateway, 4) == {b"one": 4}
        assert one.connections == 1


def test_who_waits_for_a_connection_gets_one_though_a_reload_takes_the_server_away(
    shared: Gateway, pair: Pair
) -> None:
    """Requests end on the routes they began with, those that wait too."""
    one, other = pair
    gate = threading.Event()
    one.reply(gated(b"", gate, b"HTTP/1.1 200 Fine\r\nContent-Length: 3\r\n\r\none"))
    more = "pool: {max: 1}, timeouts: {connect: 10s}"
    with configured(shared, routes([one.url], more)) as gateway, ExitStack() as stack:
        clients = [stack.enter_context(Client(gateway.port)) for _ in range(3)]
        for client in clients:
            client.send(request("/"))
        name = 'postern_requests_in_flight{route="app"}'
        until(lambda: gateway.metrics()[name] == len(clients))
        assert gateway.reload(routes([other.url], more)).status == 200
        gate.set()
        assert [client.reply().body for client in clients] == [b"one"] * 3
        assert get(gateway.port, "/").body == b"other"


def test_a_connection_whose_request_has_not_gone_out_serves_no_other() -> None:
    """Its server answered early and reads no more; the next body would be gathered behind the first one,
    with nobody to stop it."""
    gate = threading.Event()
    sizes = range(
        2_300_000, 3_300_000, 100_000
    )  # some fill the kernel and all that the gateway takes at once
    whole = {size: threading.Event() for size in (*sizes, 60_000_000)}

    def early(line: Line, seen: Received) -> None:
        whole[int(seen.value(b"content-length"))].wait(10)
        line.send(message(200, b"early"))
        gate.wait(60)

    with RecordingUpstream(receive_buffer=4096) as upstream, ExitStack() as stack:
        upstream.reply(early, at_head=True)
        pools = "\n".join(f"  u{size}: {upstream.url}" for size in sizes)
        places = "\n".join(f"  - {{name: u{n}, match: {{path: /{n}}}, upstream: u{n}}}" for n in sizes)
        defaults = ROUTE.partition("routes:")[0]
        limits = "limits: {body_bytes: 1GiB}"
        text = f"{limits}\nupstreams:\n{pools}{defaults}routes:\n{places}\n"
        gateway = stack.enter_context(run_gateway(text))
        before = gateway.memory()
        for size in sizes:
            client = stack.enter_context(Client(gateway.port))
            send_for_a_while(client, request(f"/{size}", method=b"POST", body=b"x" * size))
            whole[size].set()
            assert client.reply().body == b"early"
            late = stack.enter_context(Client(gateway.port))
            send_for_a_while(late, request(f"/{size}", method=b"POST", body=b"x" * 60_000_000))
        assert gateway.memory() - before < 20_000_000
        gate.set()


def test_a_reply_that_may_be_tried_again_is_asked_of_another_server(shared: Gateway, pair: Pair) -> None:
    one, other = pair
    one.reply(answer(b"busy", status=503))
    retry = 'balance: round_robin, outlier: {failures: 1000}, retry: {when: [connect, reset, "503"]}'
    with configured(shared, routes([one.url, other.url], retry)) as gateway:
        assert bodies(gateway, 20) == {b"other": 20}
        assert {post(gateway, "/").status for _ in range(4)} == {200, 503}


def test_a_broken_connection_is_tried_again_only_where_that_is_safe(shared: Gateway, pair: Pair) -> None:
    one, other = pair
    one.reply(raw(then="reset"))
    more = "balance: round_robin, outlier: {failures: 1000}"
    with configured(shared, routes([one.url, other.url], more)) as gateway:
        assert bodies(gateway, 20) == {b"other": 20}
        one.clear()
        one.reply(raw(then="reset"))
        statuses = Counter(post(gateway, "/").status for _ in range(10))
        assert statuses == {200: 5, 502: 5}
        assert len(one.requests) == 5


def hold(line: Line, received: Received) -> None:
    """Say nothing for as long as the connection stands."""
    line.closed.wait(10)


def test_a_server_that_goes_with_a_request_on_a_kept_connection_is_replaced(shared: Gateway) -> None:
    """The connection ends under the request, a fresh one to the same server is refused: the other serves."""
    with RecordingUpstream() as one, RecordingUpstream() as other, ExitStack() as stack:
        text = routes([one.url, other.url], "balance: hash_ip")
        gateway = stack.enter_context(configured(shared, text))
        assert get(gateway.port, "/").status == 200
        leaves, stays = (one, other) if one.requests else (other, one)
        leaves.reply(hold, b"/held")
        with Client(gateway.port) as client:
            client.send(request("/held"))
            leaves.wait_for(2)
            leaves.close()
            assert client.reply().status == 200
        assert [seen.path for seen in stays.requests] == [b"/held"]


def test_failures_after_the_head_of_the_request_eject_too(shared: Gateway, pair: Pair) -> None:
    one, other = pair
    one.reply(in_turn(*(raw(then="reset"),) * 3, answer(b"one")))
    more = "balance: round_robin, outlier: {failures: 3, eject: 100ms}"
    with configured(shared, routes([one.url, other.url], more)) as gateway:
        until(lambda: post(gateway, "/").body == b"one")
        assert sum(seen.method == b"POST" for seen in one.requests) == 4
