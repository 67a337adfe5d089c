"""The policies in the order in which they run on every route; replies go back up through them in reverse."""

from typing import Any

from policies.authenticate import Authenticate
from policies.body_limit import BodyLimit
from policies.cors import Cors
from policies.csrf import Csrf
from policies.request_headers import RequestHeaders
from policies.response_headers import ResponseHeaders
from policies.security_headers import SecurityHeaders

POLICIES: tuple[type[Any], ...] = (
    Cors,
    Authenticate,
    Csrf,
    BodyLimit,
    RequestHeaders,
    ResponseHeaders,
    SecurityHeaders,
)
