"""TLS contexts: what is accepted, what is refused with which words, and how certificates are renewed."""

import os
import ssl
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from gateway.config.snapshot import Tls, UpstreamTls
from gateway.edge.tls import BadTls, ServerTls, upstream_context
from tests.kit.certs import Authority, Pair


def shake(client: ssl.SSLContext, server: ssl.SSLContext, name: str = "localhost") -> ssl.SSLObject:
    """A handshake in memory: the client's end of it, or the error of the side that saw one first."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname=name)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (ours, theirs):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return ours


def serial(end: ssl.SSLObject) -> str:
    certificate = end.getpeercert()
    assert certificate is not None
    return str(certificate["serialNumber"])


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def pair(authority: Authority) -> Pair:
    return authority.issue("server")


def renew(authority: Authority, pair: Pair) -> None:
    """Other files under the same names, as certbot and Kubernetes do it."""
    fresh = authority.issue("fresh")
    os.replace(fresh.cert, pair.cert)
    os.replace(fresh.key, pair.key)


def test_http_1_1_is_agreed_on_and_nothing_older_than_tls_1_2(authority: Authority, pair: Pair) -> None:
    server = ServerTls(Tls(pair.cert, pair.key)).context
    client = authority.client_context()
    client.set_alpn_protocols(["h2", "http/1.1"])
    assert shake(client, server).selected_alpn_protocol() == "http/1.1"
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    assert shake(client, server).version() == "TLSv1.2"


@pytest.mark.filterwarnings("ignore:.*TLSv1_1:DeprecationWarning")
def test_tls_1_1_is_refused(authority: Authority, pair: Pair) -> None:
    client = authority.client_context()
    client.set_ciphers("ALL:@SECLEVEL=0")
    client.minimum_version = client.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
        shake(client, ServerTls(Tls(pair.cert, pair.key)).context)


def test_a_renewed_pair_serves_the_next_handshake(authority: Authority, pair: Pair) -> None:
    settings = Tls(pair.cert, pair.key)
    tls = ServerTls(settings)
    before = serial(shake(authority.client_context(), tls.context))
    assert not tls.changed()
    assert tls.reload(settings) == "same"
    renew(authority, pair)
    assert tls.changed()
    assert tls.reload(settings) == "swapped"
    assert not tls.changed()
    assert serial(shake(authority.client_context(), tls.context)) != before


def test_a_pair_that_does_not_match_is_refused_and_the_old_one_stays(
    authority: Authority, pair: Pair
) -> None:
    settings = Tls(pair.cert, pair.key)
    tls = ServerTls(settings)
    before = serial(shake(authority.client_context(), tls.context))
    fresh = authority.issue("fresh")
    os.replace(fresh.cert, pair.cert)
    with pytest.raises(BadTls, match="does not belong to the certificate"):
        tls.reload(settings)
    assert serial(shake(authority.client_context(), tls.context)) == before
    assert not tls.changed(), "it would be tried, and complained about, again and again"
    with pytest.raises(BadTls):
        tls.reload(settings)
    os.replace(fresh.key, pair.key)
    assert tls.changed()
    assert tls.reload(settings) == "swapped"
    assert serial(shake(authority.client_context(), tls.context)) != before


def test_a_file_that_goes_away_is_a_change_that_keeps_the_old_pair(authority: Authority, pair: Pair) -> None:
    settings = Tls(pair.cert, pair.key)
    tls = ServerTls(settings)
    os.unlink(pair.key)
    assert tls.changed()
    with pytest.raises(BadTls, match=r"server\.key can't be read: No such file"):
        tls.reload(settings)
    assert shake(authority.client_context(), tls.context).version()


def test_client_certificates_are_asked_for_as_set(authority: Authority, pair: Pair, tmp_path: Path) -> None:
    own = authority.client_context(authority.issue("client"))
    strangers = Authority(tmp_path / "strangers")
    foreign = authority.client_context(strangers.issue("stranger"))
    nobody = authority.client_context()
    tls = ServerTls(Tls(pair.cert, pair.key, authority.ca, "required"))
    shake(own, tls.context)
    for refused in (nobody, foreign):
        with pytest.raises(ssl.SSLError):
            shake(refused, tls.context)
    assert tls.reload(Tls(pair.cert, pair.key, authority.ca, "optional")) == "swapped"
    shake(own, tls.context)
    shake(nobody, tls.context)
    with pytest.raises(ssl.SSLError):
        shake(foreign, tls.context)
    tls.reload(Tls(pair.cert, pair.key))
    for any_client in (own, nobody, foreign):
        shake(any_client, tls.context)


def test_a_new_authority_of_clients_is_a_change(authority: Authority, pair: Pair, tmp_path: Path) -> None:
    others = Authority(tmp_path / "others")
    theirs = authority.client_context(others.issue("client"))
    settings = Tls(pair.cert, pair.key, authority.ca, "required")
    tls = ServerTls(settings)
    with pytest.raises(ssl.SSLError):
        shake(theirs, tls.context)
    os.replace(others.ca, authority.ca)
    assert tls.changed()
    tls.reload(settings)
    shake(theirs, tls.context)


def encrypt(pair: Pair) -> None:
    command = ["openssl", "pkey", "-in", pair.key, "-aes256", "-passout", "pass:x", "-out", pair.key + ".new"]
    subprocess.run(command, check=True)
    os.replace(pair.key + ".new", pair.key)


SPOILED: dict[str, tuple[Callable[[Pair], object], str]] = {
    "no certificate": (lambda pair: os.unlink(pair.cert), r"server\.crt can't be read: No such file"),
    "no key": (lambda pair: os.unlink(pair.key), r"private key .*server\.key can't be read: No such file"),
    "certificate in DER": (
        lambda pair: Path(pair.cert).write_bytes(b"0\x82"),
        r"server\.crt is not a certificate",
    ),
    "not a key": (
        lambda pair: Path(pair.key).write_text("x"),
        r"server\.key is not a private key in PEM form",
    ),
    "swapped": (lambda pair: Path(pair.cert).write_bytes(Path(pair.key).read_bytes()), "not a certificate"),
    "cut short": (
        lambda pair: Path(pair.cert).write_bytes(Path(pair.cert).read_bytes()[:200]),
        r"server\.crt with the key .*server\.key can't be used",
    ),
    "passphrase": (encrypt, r"server\.key has a passphrase; remove it: openssl pkey"),
}


@pytest.mark.parametrize("case", SPOILED)
def test_files_that_can_not_be_used_are_named_with_what_is_wrong(pair: Pair, case: str) -> None:
    spoil, words = SPOILED[case]
    spoil(pair)
    with pytest.raises(BadTls, match=words):
        ServerTls(Tls(pair.cert, pair.key))


def test_an_authority_that_can_not_be_used_is_named(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "empty.crt").write_text("")
    with pytest.raises(BadTls, match=r"empty\.crt is not a file of CA certificates"):
        ServerTls(Tls(pair.cert, pair.key, str(tmp_path / "empty.crt"), "required"))
    with pytest.raises(BadTls, match=r"away\.crt can't be read: No such file"):
        ServerTls(Tls(pair.cert, pair.key, str(tmp_path / "away.crt"), "required"))
    with pytest.raises(BadTls, match="client_auth: required needs client_ca"):
        ServerTls(Tls(pair.cert, pair.key, "", "required"))


@pytest.mark.parametrize(
    ("begins", "ends", "words"), [(-9, -2, "has expired"), (2, 9, "is not valid yet"), (-9, 9, "")]
)
def test_a_certificate_out_of_its_time_is_a_warning(
    tmp_path: Path, begins: int, ends: int, words: str
) -> None:
    now = datetime.now(UTC)
    authority = trustme.CA()
    leaf = authority.issue_cert(
        "localhost", not_before=now + timedelta(days=begins), not_after=now + timedelta(days=ends)
    )
    cert, key = tmp_path / "old.crt", tmp_path / "old.key"
    leaf.cert_chain_pems[0].write_to_path(cert)
    leaf.private_key_pem.write_to_path(key)
    warnings: list[str] = []
    ServerTls(Tls(str(cert), str(key)), warn=warnings.append)
    assert warnings == ([f"the certificate {cert} {words}: clients will refuse it"] if words else [])


def test_an_upstream_is_verified_unless_told_otherwise(
    authority: Authority, pair: Pair, tmp_path: Path
) -> None:
    server = authority.server_context(pair)
    strangers = Authority(tmp_path / "strangers")
    assert shake(upstream_context(UpstreamTls(ca=authority.ca)), server).version()
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake(upstream_context(UpstreamTls(ca=authority.ca)), server, "other.test")
    for wrong in (UpstreamTls(ca=strangers.ca), UpstreamTls()):
        with pytest.raises(ssl.SSLCertVerificationError):
            shake(upstream_context(wrong), server)
    assert shake(upstream_context(UpstreamTls(verify=False)), server, "other.test").version()


def test_an_upstream_may_demand_a_certificate(authority: Authority, pair: Pair) -> None:
    own = authority.issue("gateway")
    server = authority.server_context(pair, require_client=True)
    with pytest.raises(ssl.SSLError):
        shake(upstream_context(UpstreamTls(ca=authority.ca)), server)
    shake(upstream_context(UpstreamTls(ca=authority.ca, cert=own.cert, key=own.key)), server)
    with pytest.raises(BadTls, match="does not belong"):
        upstream_context(UpstreamTls(ca=authority.ca, cert=own.cert, key=pair.key))
