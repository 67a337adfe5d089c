"""Every way in which the gateway itself can fail a request: one table of codes, statuses and guilty sides."""

from typing import Literal

import msgspec

Guilty = Literal["client", "gateway", "upstream"]


class Fault(msgspec.Struct, frozen=True):
    """One way to fail. `code` is stable: people look it up, programs switch on it."""

    code: str
    status: int
    title: str
    guilty: Guilty
    detail: str = ""
    closes: bool = False  # the connection can't be trusted, or used, after this


def _client(code: str, status: int, title: str, detail: str = "", closes: bool = False) -> Fault:
    return Fault(code, status, title, "client", detail, closes)


def _upstream(code: str, status: int, title: str, detail: str = "") -> Fault:
    return Fault(code, status, title, "upstream", detail)


# The request itself
BAD_REQUEST = _client("bad_request", 400, "The request is not valid HTTP/1.1", closes=True)
BAD_FRAMING = _client(
    "bad_framing", 400, "The length of the request's body is not stated clearly", closes=True
)
BAD_HOST = _client("bad_host", 400, "The request needs exactly one valid Host", closes=True)
BAD_AUTHORITY = _client(
    "bad_authority", 400, "The request's target names another host than its Host", closes=True
)
AMBIGUOUS_PATH = _client(
    "ambiguous_path", 400, "Two programs could read this path differently",
    "Send the path without dot-segments, encoded slashes, double encodings, empty segments or parameters.",
    closes=True,
)  # fmt: skip
BAD_UPGRADE = _client("bad_upgrade", 400, "This upgrade is not possible", closes=True)
DUPLICATE_CREDENTIAL = _client("duplicate_credential", 400, "Send one credential of each kind", closes=True)
BAD_PROXY_HEADER = _client("bad_proxy_header", 400, "The PROXY protocol header is not valid", closes=True)
REFUSED_HEADER = _client("refused_header", 400, "A header name has an underscore", closes=True)
CONNECT_REFUSED = _client("connect_refused", 405, "CONNECT is not offered", closes=True)
REQUEST_TIMEOUT = _client("request_timeout", 408, "The request did not arrive in time", closes=True)
BODY_TOO_LARGE = _client("body_too_large", 413, "The body is larger than this route accepts")
TARGET_TOO_LONG = _client("target_too_long", 414, "The request's target is too long", closes=True)
EXPECTATION_FAILED = _client("expectation_failed", 417, "Only 100-continue can be expected", closes=True)
HEADERS_TOO_LARGE = _client("headers_too_large", 431, "The request's head is too large", closes=True)
CLIENT_CLOSED = _client("client_closed", 499, "The client went away", closes=True)

# Finding the route
NO_ROUTE = _client("no_route", 404, "No route matches this request")
METHOD_NOT_ALLOWED = _client("method_not_allowed", 405, "This place does not take that method")

# Questions of other proxies (forward_auth)
PROXY_NOT_TRUSTED = _client(
    "proxy_not_trusted", 403, "Only a trusted proxy may ask here", "List its address under trusted_proxies."
)
ORIGINAL_MISSING = _client("original_missing", 400, "The proxy does not say what it asks about")
ORIGINAL_UNCLEAR = _client("original_unclear", 400, "The proxy does not say clearly what it asks about")
FORGED_HEADER = _client("forged_header", 400, "A client may not send this header")
NOT_BY_FORWARD_AUTH = _client(
    "not_by_forward_auth", 403, "Only the gateway's own listener can answer this",
    "The proxy would take the answer for a yes: let it pass this request to the gateway itself.",
)  # fmt: skip

# Credentials and rights
CREDENTIAL_MISSING = _client("credential_missing", 401, "Sign in first")
INVALID_TOKEN = _client("invalid_token", 401, "The credential is not, or no longer, valid")
ORIGIN_REFUSED = _client("origin_refused", 403, "This origin may not do that")
CROSS_SITE = _client(
    "cross_site", 403, "Another site may have sent this",
    "A request with a session cookie that changes something needs Sec-Fetch-Site: same-origin, or an Origin "
    "of this host or of csrf.trusted_origins; programs had better send a bearer token.",
)  # fmt: skip
BINDING_CHANGED = _client(
    "binding_changed", 401, "This is not the place, or not the program, of the sign-in",
    "Sign in again from here.",
)  # fmt: skip
SESSION_ENDED = _client("session_ended", 401, "The session behind this stream has ended")
GUESSING = _client("too_many_unknown_credentials", 429, "Too many unknown credentials came from this address")

# The identity service's calls
BAD_JSON = _client("bad_json", 400, "The body is not a JSON object")
UNSUPPORTED_MEDIA_TYPE = _client(
    "unsupported_media_type", 415, "Bodies are plain application/json",
    "Send Content-Type: application/json, and no Content-Encoding.",
)  # fmt: skip
INVALID_FIELDS = _client("invalid_fields", 422, "Some fields are not valid")
NOT_FOUND = _client("not_found", 404, "There is no such thing here")
RATE_LIMITED = _client("rate_limited", 429, "Too many requests; wait a little")
INVALID_CREDENTIALS = _client("invalid_credentials", 401, "Name or password is not right")
INSUFFICIENT_SCOPE = _client("insufficient_scope", 403, "You may not do that")
INSUFFICIENT_USER_AUTHENTICATION = _client(
    "insufficient_user_authentication", 401, "Prove once more that it is you"
)
INVALID_REFRESH_TOKEN = _client(
    "invalid_refresh_token", 400, "The refresh token is not, or no longer, valid", "Sign in again."
)
REFRESH_TOKEN_REUSED = _client(
    "refresh_token_reused", 400, "An older refresh token was used again, so its session has ended",
    "Sign in again; if this was not you, somebody may have copied your tokens.",
)  # fmt: skip
EMAIL_TAKEN = _client(
    "email_taken", 409, "This e-mail address has an account already", "Sign in, or use another address."
)
USERNAME_TAKEN = _client("username_taken", 409, "This user name is taken", "Choose another user name.")
REGISTRATION_CLOSED = _client("registration_closed", 403, "Nobody can register here by themselves")
REGISTRATION_REFUSED = _client("registration_refused", 403, "You can't register like this")
PASSWORD_OFF = _client("password_off", 403, "Passwords are not used here", "Sign in another way.")
INVALID_KEY = _client("invalid_key", 400, "The key is not, or no longer, valid", "Ask for a new one.")
LAST_ADMIN = _client(
    "last_admin", 409, "Nobody would be left to administer this", "Make another user an admin first."
)
ROLE_TAKEN = _client("role_taken", 409, "There is a role of this name already", "Change that one instead.")
GONE_MEANWHILE = _client(
    "gone_meanwhile", 409, "What this call names was just deleted", "Look at what is there; ask again."
)
SHIPPED_ROLE = _client("shipped_role", 409, "This role is part of the gateway", "Take it from users instead.")

# The gateway's own side
POLICY_CRASHED = Fault("policy_crashed", 500, "A policy of this route failed", "gateway")
POLICY_TIMEOUT = Fault("policy_timeout", 503, "A policy of this route came to no verdict in time", "gateway")
INTERNAL_ERROR = Fault("internal_error", 500, "The gateway failed", "gateway", closes=True)
IDENTITY_UNAVAILABLE = Fault("identity_unavailable", 503, "Sign-in can't be checked just now", "gateway")
STORE_UNAVAILABLE = Fault(
    "store_unavailable", 503, "The database can't be reached just now", "gateway", "Nothing was changed."
)
RATE_LIMIT_UNAVAILABLE = Fault("rate_limit_unavailable", 503, "Requests can't be counted just now", "gateway")
SIGN_IN_BUSY = Fault("sign_in_busy", 503, "Too many passwords are being checked just now", "gateway")
HOOK_FAILED = Fault("hook_failed", 503, "A hook of this house failed", "gateway", "Nothing was changed.")
TOO_MANY_CONNECTIONS = Fault("too_many_connections", 503, "The gateway is full", "gateway", closes=True)

# The upstream
UPSTREAM_UNAVAILABLE = _upstream("upstream_unavailable", 503, "No server of this upstream can be reached")
UPSTREAM_BUSY = _upstream("upstream_busy", 503, "Every connection of this upstream is in use")
UPSTREAM_CONNECT_TIMEOUT = _upstream("upstream_connect_timeout", 504, "The upstream did not accept in time")
UPSTREAM_TIMEOUT = _upstream("upstream_timeout", 504, "The upstream did not answer in time")
UPSTREAM_RESET = _upstream("upstream_reset", 502, "The upstream broke the connection")
UPSTREAM_BAD_REPLY = _upstream("upstream_bad_reply", 502, "The upstream's reply is not valid HTTP/1.1")
UPSTREAM_TLS = _upstream("upstream_tls", 502, "The upstream's certificate was not accepted")

FAULTS: dict[str, Fault] = {
    fault.code: fault for fault in list(globals().values()) if isinstance(fault, Fault)
}
