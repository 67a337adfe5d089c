"""Choosing among servers: shares follow weights, the idle are preferred, keys stay where they are."""

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from gateway.edge.balance import RING, Balance, balancer, load
from gateway.model.exchange import Exchange
from gateway.model.identity import Identified, Identity


class Fake:
    def __init__(self, number: int, weight: int = 1) -> None:
        self.key = f"10.0.0.{number} 80".encode()
        self.weight = weight
        self.active = 0

    def __repr__(self) -> str:
        return f"{self.key.decode()} weight={self.weight} active={self.active}"


def fakes(weights: list[int]) -> list[Fake]:
    return [Fake(number, weight) for number, weight in enumerate(weights)]


def request(client: bytes = b"192.0.2.1", user: str = "") -> Exchange:
    exchange = Exchange()
    exchange.client = client
    exchange.who = Identified(Identity(user), "bearer") if user else None
    return exchange


def clients(count: int) -> list[Exchange]:
    return [request(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}".encode()) for n in range(count)]


weights = st.lists(st.integers(1, 20), min_size=1, max_size=8)
seeds = st.integers().map(Random)


@given(weights, seeds)
def test_in_every_round_each_server_has_as_many_turns_as_it_weighs(
    weights: list[int], random: Random
) -> None:
    servers = fakes(weights)
    chooser = balancer("round_robin", servers, random)
    rounds = Counter(chooser.pick(request()) for _ in range(3 * sum(weights)))
    assert {server: rounds[server] for server in servers} == {s: 3 * s.weight for s in servers}


@given(st.integers(2, 9), seeds)
def test_equal_servers_take_strict_turns(count: int, random: Random) -> None:
    chooser = balancer("round_robin", fakes([1] * count), random)
    picks = [chooser.pick(request()) for _ in range(4 * count)]
    assert picks[count:] == picks[:-count]
    assert len(set(picks[:count])) == count


def test_a_heavy_server_does_not_take_its_turns_in_a_row() -> None:
    heavy, *light = fakes([5, 1, 1])
    chooser = balancer("round_robin", [heavy, *light], Random(1))
    picks = [chooser.pick(request()) for _ in range(70)]
    longest = max(len(run) for run in "".join("h" if pick is heavy else " " for pick in picks).split())
    assert longest < 5


def test_huge_weights_cost_no_more_than_a_ring_and_nobody_is_left_out() -> None:
    servers = fakes([1_000_000, 999_999, 1])
    chooser = balancer("round_robin", servers, Random(1))
    turns = Counter(chooser.pick(request()) for _ in range(RING + 1))
    assert turns[servers[2]] in (1, 2)
    assert abs(turns[servers[0]] - turns[servers[1]]) <= 2


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(0, 50)), min_size=1, max_size=8), seeds)
def test_nobody_less_busy_for_its_weight_is_passed_over(state: list[tuple[int, int]], random: Random) -> None:
    servers = fakes([weight for weight, _ in state])
    for server, (_, active) in zip(servers, state, strict=True):
        server.active = active
    chooser = balancer("least_requests", servers, random)
    for _ in range(3):
        assert load(chooser.pick(request())) == min(load(server) for server in servers)


@given(weights, seeds)
def test_among_idle_servers_the_turns_follow_the_weights(weights: list[int], random: Random) -> None:
    servers = fakes(weights)
    chooser = balancer("least_requests", servers, random)
    turns = Counter(chooser.pick(request()) for _ in range(2 * sum(weights)))
    assert {server: turns[server] for server in servers} == {s: 2 * s.weight for s in servers}


@given(seeds)
def test_the_equally_busy_take_turns(random: Random) -> None:
    servers = fakes([1, 1, 1])
    servers[1].active = 7
    servers[0].active = servers[2].active = 3
    chooser = balancer("least_requests", servers, random)
    turns = Counter(chooser.pick(request()) for _ in range(100))
    assert turns == {servers[0]: 50, servers[2]: 50}


@given(weights, seeds)
def test_requests_that_last_spread_by_weight(weights: list[int], random: Random) -> None:
    servers = fakes(weights)
    chooser = balancer("least_requests", servers, random)
    for _ in range(5 * sum(weights)):
        chooser.pick(request()).active += 1
    assert all(abs(server.active - 5 * server.weight) <= 1 for server in servers)


def test_among_many_servers_the_better_of_two_keeps_them_level() -> None:
    servers = fakes([1] * 50 + [2] * 50)
    chooser = balancer("least_requests", servers, Random(7))
    for _ in range(150 * 40):
        chooser.pick(request()).active += 1
    loads = [load(server) for server in servers]
    assert min(loads) > 30 and max(loads) < 50


hashes = st.sampled_from(["hash_ip", "hash_user"])


@given(weights, hashes, seeds, st.ip_addresses().map(str))
def test_one_key_has_one_server_in_every_worker(
    weights: list[int], method: Balance, random: Random, client: str
) -> None:
    servers = fakes(weights)
    here = balancer(method, servers, random)
    there = balancer(method, servers[::-1], Random())
    assert here.pick(request(client.encode())) is there.pick(request(client.encode()))
    assert here.pick(request(client.encode())) is here.pick(request(client.encode()))


@given(st.lists(st.integers(1, 5), min_size=2, max_size=8), st.data())
def test_when_a_server_leaves_only_its_keys_move(weights: list[int], data: st.DataObject) -> None:
    servers = fakes(weights)
    leaves = data.draw(st.sampled_from(servers))
    before = balancer("hash_ip", servers, Random())
    after = balancer("hash_ip", [server for server in servers if server is not leaves], Random())
    for exchange in clients(200):
        was = before.pick(exchange)
        assert after.pick(exchange) is was or was is leaves


def test_keys_spread_by_weight() -> None:
    servers = fakes([1, 2, 1])
    chooser = balancer("hash_ip", servers, Random())
    shares = Counter(chooser.pick(exchange) for exchange in clients(20_000))
    assert 4_500 < shares[servers[0]] < 5_500
    assert 9_500 < shares[servers[1]] < 10_500
    assert 4_500 < shares[servers[2]] < 5_500


def test_users_spread_evenly_and_are_followed_across_addresses() -> None:
    servers = fakes([1, 1])
    chooser = balancer("hash_user", servers, Random())
    users = [f"user-{number}" for number in range(4000)]
    shares = Counter(chooser.pick(request(b"192.0.2.1", user)) for user in users)
    assert 1_800 < shares[servers[0]] < 2_200
    assert all(
        chooser.pick(request(b"192.0.2.1", user)) is chooser.pick(request(b"198.51.100.9", user))
        for user in users
    )


def test_by_address_the_user_does_not_matter_and_the_anonymous_go_by_address() -> None:
    servers = fakes([1, 1, 1, 1])
    by_address = balancer("hash_ip", servers, Random())
    by_user = balancer("hash_user", servers, Random())
    for exchange in clients(50):
        alike = request(exchange.client, "somebody")
        assert by_address.pick(exchange) is by_address.pick(alike)
        assert by_user.pick(exchange) is by_address.pick(exchange)


@given(weights, st.sampled_from(["round_robin", "least_requests", "hash_ip", "hash_user"]), seeds)
def test_the_order_of_attempts_names_every_server_once(
    weights: list[int], method: Balance, random: Random
) -> None:
    servers = fakes(weights)
    order = balancer(method, servers, random).order(request())
    assert sorted(order, key=servers.index) == servers


@given(weights, seeds)
def test_a_key_is_first_tried_where_it_belongs(weights: list[int], random: Random) -> None:
    chooser = balancer("hash_ip", fakes(weights), random)
    assert all(chooser.order(exchange)[0] is chooser.pick(exchange) for exchange in clients(20))


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), seeds)
def test_the_least_busy_is_tried_next(active: list[int], random: Random) -> None:
    servers = fakes([1] * len(active))
    for server, count in zip(servers, active, strict=True):
        server.active = count
    order = balancer("least_requests", servers, random).order(request())
    assert [server.active for server in order] == sorted(active)
