"""The kit itself: a test that leans on it can only fail if it sees what is wrong."""

import socket
from pathlib import Path

import pytest

from tests.kit import scripts
from tests.kit.canonical import Refused, canonical
from tests.kit.certs import Authority
from tests.kit.raw import Client, chunked, exchange, get, request
from tests.kit.upstream import RecordingUpstream
from tests.kit.wire import WireError


def test_the_upstream_records_the_exact_bytes() -> None:
    body = chunked(b"some", b"more", trailer=b"X: y\r\n")
    data = request("/a?b", b"Transfer-Encoding: chunked", b"x-odd:  spaced ", method=b"POST") + body
    with RecordingUpstream() as upstream:
        assert exchange(upstream.port, data + request("/c"), half_close=True).statuses == [200, 200]
        first, second = upstream.wait_for(2)
        assert (first.raw, first.body, first.trailers) == (data, b"somemore", [(b"X", b"y")])
        assert (first.path, first.target, first.value(b"X-Odd")) == (b"/a", b"/a?b", b"spaced")
        assert (second.raw, second.connection, upstream.violations) == (request("/c"), first.connection, [])


@pytest.mark.parametrize(
    "data",
    [
        b"GET /a HTTP/1.1\r\n\r\n",
        b"GET /a HTTP/1.0\r\nHost: a\r\n\r\n",
        b"\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: a\r\nX: y\nZ: a\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx",
        b"GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        b"GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;a=b\r\nx\r\n0\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n0\r\n\r\n",
    ],
)
def test_the_upstream_sees_what_is_not_allowed(data: bytes) -> None:
    with RecordingUpstream() as upstream:
        assert exchange(upstream.port, data, half_close=True).statuses == []
        assert len(upstream.violations) == 1


def test_a_request_that_was_cut_is_not_complete() -> None:
    with RecordingUpstream() as upstream:
        exchange(upstream.port, request("/a", b"Content-Length: 9") + b"hello", half_close=True)
        (seen,) = upstream.wait_head(1)
        assert not seen.complete and upstream.wait_closed(seen.connection)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 2000 X\r\n\r\n",
        b"HTTP/2 200 X\r\n\r\n",
        b"HTTP/1.1 200 X\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 200 X\r\nX: a\nb\r\n\r\n",
        b"HTTP/1.1 200 X\r\n nonsense\r\n\r\n",
    ],
)
def test_the_client_takes_no_reply_that_is_none(data: bytes) -> None:
    with RecordingUpstream() as upstream, Client(upstream.port) as client:
        upstream.reply(scripts.raw(data, then="close"))
        with pytest.raises(WireError):
            client.send(request("/a")).reply()


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 X\r\nContent-Length: 5\r\n\r\nhel",
        b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n",
        b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n0\r\n",
    ],
)
def test_the_client_tells_a_cut_reply_from_a_whole_one(data: bytes) -> None:
    with RecordingUpstream() as upstream:
        upstream.reply(scripts.raw(data, then="close"))
        assert not get(upstream.port, "/a").whole


def test_the_client_sees_how_a_connection_stands() -> None:
    with RecordingUpstream() as upstream, Client(upstream.port) as client:
        assert client.send(request("/a")).reply().status == 200
        assert client.is_open()
        upstream.open_lines()[0].close()
        assert client.ends() and not client.is_open()


def test_an_upstream_on_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with RecordingUpstream(unix=path) as upstream, Client(0, unix=path) as client:
        assert client.send(request("/a")).reply().status == 200
        assert upstream.url == f"unix:{path}" and upstream.last.path == b"/a"


def test_an_upstream_with_tls_and_client_certificates(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = authority.server_context(authority.issue("server"), require_client=True)
    with RecordingUpstream(tls=context) as upstream:
        known = authority.client_context(authority.issue("client", "client@example.com"))
        with Client(upstream.port, tls=known) as client:
            assert client.send(request("/a")).reply().status == 200
        with pytest.raises(OSError), Client(upstream.port, tls=authority.client_context()) as client:
            client.send(request("/a")).head()
        assert len(upstream.requests) == 1


def test_a_closed_upstream_refuses(tmp_path: Path) -> None:
    with RecordingUpstream() as upstream:
        port = upstream.port
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=2)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/a/%7e%41%c3%a9", b"/a/~A%C3%A9"),
        (b"/a%23", b"/a%23"),
        (b"/a%25", b"/a%25"),
        (b'/"', b"/%22"),
        (b"/", b"/"),
    ],
)
def test_the_model_of_canonical_paths(path: bytes, expected: bytes) -> None:
    assert canonical(path) == canonical(expected) == expected


@pytest.mark.parametrize(
    "path",
    [
        *b"a /a/../b /%2e /a;x /a//b /a%2fb /a%5cb /a\\b /%00 /%2525 /%zz /%ff".split(),
        *b"/\xff /a#b /..; /%252e /%%32%65 /%7f /a/. /a/..".split(),
    ],
)
def test_the_model_refuses_what_edge_md_lists(path: bytes) -> None:
    with pytest.raises(Refused):
        canonical(path)
