"""TLS contexts: the server's, renewed while connections are open, and those towards upstreams."""

import os
import ssl
from collections.abc import Callable
from typing import Literal

from gateway.config.snapshot import Tls, UpstreamTls

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"  # of TLS 1.2; those of 1.3 are all fine
_NOT_IN_ITS_TIME = {9: "is not valid yet", 10: "has expired"}  # X509_V_ERR_CERT_NOT_YET_VALID, _HAS_EXPIRED
_CLIENT_AUTH = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}

_Stamp = tuple[tuple[int, int, int] | None, ...]


class BadTls(Exception):
    """A certificate, key or CA can't be used; the message names the file and what to do."""


class ServerTls:
    """The server's side. `context` is for the next handshake; whoever holds an older one goes on undisturbed.

    A new pair makes a new context: load_cert_chain on the live one, with a pair that doesn't match,
    breaks every handshake.
    """

    def __init__(self, tls: Tls, warn: Callable[[str], None] = lambda message: None) -> None:
        self._warn = warn
        self._seen = _stamp(tls)
        self.context = self._make(tls)
        self._tls = tls
        self._used = self._seen

    def reload(self, tls: Tls) -> Literal["same", "swapped"]:
        """Raises BadTls and keeps what it has when the new files can't be used."""
        self._seen = stamp = _stamp(tls)
        if (tls, stamp) == (self._tls, self._used):
            return "same"
        self.context = self._make(tls)
        self._tls, self._used = tls, stamp
        return "swapped"

    def changed(self) -> bool:
        """Whether a file is another one than at the last attempt to load, successful or not."""
        return _stamp(self._tls) != self._seen

    def _make(self, tls: Tls) -> ssl.SSLContext:
        context = _server_context(tls)
        for warning in _warnings(tls):
            self._warn(warning)
        return context


def upstream_context(tls: UpstreamTls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif tls.ca:
        _load_ca(context, tls.ca)
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if tls.cert:
        _load_pair(context, tls.cert, tls.key or tls.cert)
    return context


def _server_context(tls: Tls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    context.num_tickets = 1
    _load_pair(context, tls.cert, tls.key)
    if tls.client_auth != "none":
        if not tls.client_ca:
            raise BadTls(f"client_auth: {tls.client_auth} needs client_ca, the CA of the clients")
        _load_ca(context, tls.client_ca)
        context.verify_mode = _CLIENT_AUTH[tls.client_auth]
    return context


def _load_pair(context: ssl.SSLContext, cert: str, key: str) -> None:
    if b"-----BEGIN CERTIFICATE-----" not in _read(cert, "certificate"):
        raise BadTls(f"{cert} is not a certificate in PEM form (it has no BEGIN CERTIFICATE line)")
    secret = _read(key, "private key")
    if b"PRIVATE KEY-----" not in secret:
        raise BadTls(f"{key} is not a private key in PEM form (it has no BEGIN PRIVATE KEY line)")
    if b"ENCRYPTED" in secret:
        raise BadTls(f"the private key {key} has a passphrase; remove it: openssl pkey -in {key} -out NEW")
    try:
        # without a password OpenSSL would ask the terminal for one
        context.load_cert_chain(cert, key, password="")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise BadTls(
                f"the key {key} does not belong to the certificate {cert}; "
                "use the pair that was made together, the server's own certificate first in its file"
            ) from None
        raise BadTls(f"the certificate {cert} with the key {key} can't be used: {_reason(error)}") from None
    except OSError as error:
        raise BadTls(f"the certificate {cert} with the key {key} can't be used: {error.strerror}") from None


def _load_ca(context: ssl.SSLContext, ca: str) -> None:
    _read(ca, "CA certificate")
    try:
        context.load_verify_locations(cafile=ca)
    except OSError as error:
        raise BadTls(f"{ca} is not a file of CA certificates in PEM form: {_reason(error)}") from None


def _read(path: str, what: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise BadTls(f"the {what} {path} can't be read: {error.strerror}") from None


def _reason(error: OSError) -> str:
    reason = getattr(error, "reason", None) or error.strerror or "unknown reason"
    return str(reason).lower().replace("_", " ")


def _stamp(tls: Tls) -> _Stamp:
    """What tells one state of the files from another; a file that's away is a state too."""
    return tuple(_stamp_of(path) for path in (tls.cert, tls.key, tls.client_ca) if path)


def _stamp_of(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _warnings(tls: Tls) -> list[str]:
    """Clients refuse a certificate out of its time; a handshake with ourselves in memory tells."""
    client, server = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client.load_verify_locations(cafile=tls.cert)
    server.load_cert_chain(tls.cert, tls.key, password="")
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = (
        client.wrap_bio(to_client, to_server),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    for _ in range(4):
        for side in sides:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError as error:
                said = _NOT_IN_ITS_TIME.get(error.verify_code)
                return [f"the certificate {tls.cert} {said}: clients will refuse it"] if said else []
            except ssl.SSLError as error:
                return [f"the certificate {tls.cert} may not serve: {_reason(error)}"]
    return []
