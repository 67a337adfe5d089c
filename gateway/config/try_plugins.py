"""Tries plugins as a worker will make them, in a process of its own: whatever they do, they do it here only.

python -m gateway.config.try_plugins: the trials as msgpack on stdin; on stdout a line of JSON for each step.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import msgspec

from gateway.config.trials import Step, Trial, Trials
from gateway.model.headers import folded
from gateway.model.policy import Ports
from policies import POLICIES
from policies._plugin import BadPlugin, made, names_of

ALONE = 60  # seconds


class _StandIn:
    """A port: whatever is asked of it while plugins are made, it is there."""

    def __getattr__(self, name: str) -> Callable[..., "_StandIn"]:
        return lambda *args, **kwargs: self


async def try_all(trials: Trials, tell: Callable[[Step], None]) -> None:
    """In a running loop, as in a worker."""
    for number, trial in enumerate(trials.each):
        tell(Step(number))
        try:
            _try(trial, trials.identity_names)
        except BadPlugin as bad:
            tell(Step(number, True, bad.problem, bad.hint, bad.path))
        else:
            tell(Step(number, True))


def _try(trial: Trial, identity_names: tuple[str, ...]) -> None:
    away: Any = _StandIn()
    ports = Ports(identities=away, leases=away, assertions=away, route=trial.route)
    name, _, effects = made(trial.class_, trial.settings, ports)
    if name in {policy.name for policy in POLICIES}:
        raise BadPlugin(f"its name is {name}, as that of a policy of the gateway", "give it another name")
    for header in sorted(names_of(effects)):
        if folded(header).decode() in identity_names:
            raise BadPlugin(f"its effects: {header.decode()} carries an identity, as identity.headers says")


def main() -> None:
    trials = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Trials)
    out = os.dup(1)
    os.dup2(2, 1)  # what plugins print is no answer of ours

    def tell(step: Step) -> None:
        os.write(out, msgspec.json.encode(step) + b"\n")

    signal.alarm(ALONE)  # should nobody be left to wait for us
    asyncio.run(try_all(trials, tell))
    os.killpg(0, signal.SIGKILL)  # with whatever they have begun: nobody knows how to end that


if __name__ == "__main__":
    main()
