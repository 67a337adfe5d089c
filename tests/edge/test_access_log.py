"""The access log: every line is one line of JSON, whole, bounded; a log that stands still holds nobody up."""

import asyncio
import json
import os
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.edge.access_log import LONGEST_LINE, AccessLog, LineWriter, PipeSink
from gateway.edge.kept import Kept
from gateway.model import faults
from gateway.model.exchange import Exchange

ROUTE = cast(Any, SimpleNamespace(log_start=b'"service":"s","config":"c","route":"r",', log_query=True))


def line(**fields: Any) -> dict[str, Any]:
    exchange = Exchange(began=10.0, client=b"192.0.2.1", request_id=b"a" * 128, trace_id=b"b" * 32)
    for name, value in fields.items():
        setattr(exchange, name, value)
    made = LineWriter().line(exchange, ROUTE, 10.5)
    assert made.endswith(b"\n") and made.count(b"\n") == 1 and len(made) <= LONGEST_LINE
    return cast(dict[str, Any], json.loads(made))


@given(st.binary(max_size=2000), st.binary(max_size=3000), st.text(max_size=3000))
def test_whatever_a_client_sends_is_one_line_of_json(agent: bytes, query: bytes, why: str) -> None:
    verdicts = tuple((f"policy{number}", "code" * 10) for number in range(40))
    told = line(
        noted={b"user-agent": agent}, path=b"/" + b"x" * 8000, query=query, why=why, verdicts=verdicts,
        rare=True, failed=faults.NO_ROUTE, status=404,
    )  # fmt: skip
    assert told["agent"] in (agent[:200].decode("utf-8", "replace"), None)
    assert (told["code"], told["status"]) == ("no_route", 404)


def test_a_line_that_escapes_make_too_long_goes_without_its_longest_parts() -> None:
    worst = {
        "noted": {b"user-agent": b"\x01" * 300},
        "query": b"\x01" * 300,
        "why": "\x01" * 300,
        "rare": True,
    }
    told = line(path=b"/" + b"x" * 1499, method=b"PUT", status=503, failed=faults.NO_ROUTE, **worst)
    assert (told["method"], told["status"], told["code"]) == ("PUT", 503, "no_route")
    assert told["path"] == "/" + "x" * 499


def test_the_fields_of_a_usual_line() -> None:
    told = line(method=b"GET", path=b"/a", status=200, sent=10.1, replied=10.35, server=b'"app"', bytes_out=7)
    assert (told["method"], told["path"], told["status"], told["bytes_out"]) == ("GET", "/a", 200, 7)
    assert (told["ms"], told["server"], told["agent"]) == (500.0, "app", None)
    assert abs(told["upstream_ms"] - 250) < 0.01
    assert "code" not in told and "verdicts" not in told


@pytest.mark.parametrize("token", [b"psa_" + b"0aZ" * 20, b"eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJ4In0.c2ln"])
def test_T25_a_token_that_a_client_put_where_it_is_told_is_cut_out(token: bytes) -> None:
    told = line(
        path=b"/reset/" + token + b"/x", noted={b"user-agent": b"curl " + token}, query=b"?t=" + token
    )
    assert token not in json.dumps(told).encode()
    assert told["path"].startswith("/reset/") and told["path"].endswith("…/x")
    assert told["agent"].startswith("curl ")


def test_a_file_gets_every_line(tmp_path: Path) -> None:
    async def write() -> None:
        log = AccessLog(str(tmp_path / "log"), asyncio.get_running_loop(), Kept())
        for number in range(10_000):
            log.add(b"%d\n" % number)
        log.close()
        assert log.dropped == 0

    asyncio.run(write())
    assert (tmp_path / "log").read_bytes().split() == [b"%d" % number for number in range(10_000)]


def test_a_full_pipe_holds_nobody_up_and_loses_only_what_is_counted() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    got = bytearray()

    async def write() -> int:
        sink = PipeSink(writing, asyncio.get_running_loop())
        text = b"x" * 999 + b"\n"
        for _ in range(2_000):  # 20 MB for a pipe of 64 KiB that nobody reads
            sink.write([text] * 10)
        thread = threading.Thread(target=read_all)
        thread.start()
        while sink._pieces:  # the loop writes on as the pipe is read
            await asyncio.sleep(0.01)
        sink.close()
        thread.join()
        return sink.dropped

    def read_all() -> None:
        until = time.monotonic() + 20
        while time.monotonic() < until and (data := os.read(reading, 1 << 20)):
            got.extend(data)

    dropped = asyncio.run(write())
    os.close(reading)
    lines = bytes(got).splitlines()
    assert dropped > 0 and len(lines) + dropped == 20_000
    assert set(map(len, lines)) == {999}


def test_a_log_that_cannot_be_written_says_where_and_what_to_do(tmp_path: Path) -> None:
    loop = asyncio.new_event_loop()
    with pytest.raises(ValueError, match=r"missing/log: no such file or directory; .*`access_log\.to`"):
        AccessLog(str(tmp_path / "missing/log"), loop, Kept())
    loop.close()


def test_a_file_that_was_moved_away_is_made_anew(tmp_path: Path) -> None:
    async def write() -> None:
        log = AccessLog(str(tmp_path / "log"), asyncio.get_running_loop(), Kept())
        log.add(b"before\n")
        (tmp_path / "log").rename(tmp_path / "log.1")
        log.reopen()
        log.add(b"after\n")
        log.close()
        assert log.dropped == 0

    asyncio.run(write())
    until = time.monotonic() + 5
    while not (tmp_path / "log.1").read_bytes() and time.monotonic() < until:
        time.sleep(0.01)
    assert ((tmp_path / "log.1").read_bytes(), (tmp_path / "log").read_bytes()) == (b"before\n", b"after\n")
