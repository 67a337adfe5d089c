"""Faults of plugins: each is imported and made in a process of its own, with the environment of a worker."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

import msgspec
from pydantic import ValidationError

from gateway.config.environment import worker_environment
from gateway.config.faults import ConfigFault, shown
from gateway.config.loader import Place, Source, at
from gateway.config.schema_policies import Plugin
from gateway.config.trials import Step, Trial, Trials
from gateway.config.variables import Absent, Filled

WITHIN = 15.0  # seconds for all of them
LONGEST = 300  # letters of a problem
_PROGRAM = (sys.executable, "-m", "gateway.config.try_plugins")


class Named(NamedTuple):
    """A plugin, and where the file names it."""

    source: Source
    path: Place
    trial: Trial

    def fault(self, step: Step) -> ConfigFault:
        place = (*self.path, "class") if step.path is None else (*self.path, "settings", *step.path)
        value = _at(self.source.data, place)
        if isinstance(value, Filled) and step.path is not None:
            return self.source.fault(place, f"{shown(value)} is not right here")
        return self.source.fault(place, self._discreet(step.problem), step.hint)

    def _discreet(self, text: str) -> str:
        """What came from a variable or a file may be secret, so a fault shows nothing of it."""
        filled = [value for value in _texts(_at(self.source.data, self.path)) if isinstance(value, Filled)]
        for value in sorted(filled, key=len, reverse=True):
            for spelling in {str(value), repr(str(value))[1:-1], " ".join(value.split())} - {""}:
                text = text.replace(spelling, value.template)
        text = text if len(text) <= LONGEST else text[:LONGEST] + "…"
        return text if text.isprintable() else ascii(text)[1:-1]


def plugin_faults(sources: list[Source], identity_names: frozenset[bytes]) -> Iterator[ConfigFault]:
    """Of all plugins whose settings are here. Equal ones are tried once."""
    named: dict[bytes, list[Named]] = {}
    for one in _named(sources):
        key = msgspec.msgpack.encode((one.trial.class_, one.trial.settings))
        named.setdefault(key, []).append(one)
    if not named:
        return
    each = list(named.values())
    names = tuple(name.decode() for name in sorted(identity_names))
    for step in _tried([places[0].trial for places in each], names):
        yield from (place.fault(step) for place in each[step.number])


def plain(value: Any) -> Any:
    """Settings as they are encoded: text that came from a variable is text as any other."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return str(value) if isinstance(value, str) else value


def _named(sources: list[Source]) -> Iterator[Named]:
    for source in sources:
        routes = at(source.data, "routes")
        count = len(routes) if isinstance(routes, list) else 0
        for above in (("defaults",), *(("routes", number) for number in range(count))):
            listed = _at(source.data, (*above, "policies", "plugins"))
            for index, data in enumerate(listed if isinstance(listed, list) else ()):
                with contextlib.suppress(ValidationError):  # that is told already
                    plugin = Plugin.model_validate(data)
                    if not any(isinstance(text, Absent) for text in _texts(data)):
                        route = str(_at(source.data, (*above, "name")))
                        trial = Trial(plugin.class_, plain(plugin.settings), route)
                        yield Named(source, (*above, "policies", "plugins", index), trial)


def _at(data: Any, path: Place) -> Any:
    for key in path:
        if isinstance(data, dict):
            data = data.get(key)
        elif isinstance(data, list) and isinstance(key, int) and key < len(data):
            data = data[key]
        else:
            return None
    return data


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _texts(one)
    elif isinstance(value, str):
        yield value


def _tried(trials: list[Trial], names: tuple[str, ...]) -> Iterator[Step]:
    """What was wrong with them. One that ends the process ends it for itself only: those after it are tried
    in another."""
    deadline = time.monotonic() + WITHIN
    begun = 0
    while begun < len(trials):
        steps, ended = _run(Trials(tuple(trials[begun:]), names), deadline - time.monotonic())
        for step in steps:
            if step.problem:
                yield msgspec.structs.replace(step, number=begun + step.number)
        last = begun + (steps[-1].number if steps else 0)
        if not steps or not steps[-1].over:
            problem = ended or f"it was not done within {WITHIN:g} seconds"
            yield Step(last, True, problem, "look at what it does when it is imported, and when it is made")
        if not ended:
            return
        begun = last + 1


def _run(trials: Trials, timeout: float) -> tuple[list[Step], str]:
    """The steps that the process told, and how it ended; an empty text if it had to be killed."""
    with tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as told, tempfile.TemporaryFile() as err:
        asked.write(msgspec.msgpack.encode(trials))
        asked.seek(0)
        process = subprocess.Popen(
            _PROGRAM, stdin=asked, stdout=told, stderr=err, env=worker_environment(os.environ),
            start_new_session=True,
        )  # fmt: skip
        try:
            code = process.wait(max(0.0, timeout))
            ended = f"it ended the process ({f'exit code {code}' if code >= 0 else f'signal {-code}'})"
        except subprocess.TimeoutExpired:
            return list(_steps(_read(told))), ""
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        words = _read(err)[-LONGEST:].decode("utf-8", "replace").strip().splitlines()[-1:]
        return list(_steps(_read(told))), ": ".join([ended, *(words if process.returncode else [])])


def _read(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


def _steps(told: bytes) -> Iterator[Step]:
    for line in told.split(b"\n")[:-1]:
        with contextlib.suppress(msgspec.DecodeError):
            yield msgspec.json.decode(line, type=Step)
