"""The policies in the order in which they run on every route; replies go back up through them in reverse."""

from typing import Any

from gateway.model.policy import Step
from policies.assertion import Assertion
from policies.authenticate import Authenticate
from policies.bind import Bind
from policies.body_limit import BodyLimit
from policies.cors import Cors
from policies.csrf import Csrf
from policies.plugins import Plugins
from policies.rate_limit import RateLimit
from policies.request_headers import RequestHeaders
from policies.require import Require
from policies.response_headers import ResponseHeaders
from policies.security_headers import SecurityHeaders

STEPS: tuple[Step, ...] = (
    Step(Cors),
    Step(RateLimit, "by_address"),
    Step(Plugins, "before_auth"),
    Step(Authenticate),
    Step(Csrf),
    Step(Bind),
    Step(Require),
    Step(RateLimit, "rest"),
    Step(BodyLimit),
    Step(Plugins, "after_auth"),
    Step(Assertion),
    Step(RequestHeaders),
    Step(ResponseHeaders),
    Step(SecurityHeaders),
)
POLICIES: tuple[type[Any], ...] = tuple(dict.fromkeys(step.policy for step in STEPS))
