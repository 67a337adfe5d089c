"""The policies in the order in which they run on every route; replies go back up through them in reverse."""

from typing import Any

from gateway.model.policy import Step
from policies.authenticate import Authenticate
from policies.body_limit import BodyLimit
from policies.cors import Cors
from policies.csrf import Csrf
from policies.request_headers import RequestHeaders
from policies.response_headers import ResponseHeaders
from policies.security_headers import SecurityHeaders

STEPS: tuple[Step, ...] = (
    Step(Cors),
    Step(Authenticate),
    Step(Csrf),
    Step(BodyLimit),
    Step(RequestHeaders),
    Step(ResponseHeaders),
    Step(SecurityHeaders),
)
POLICIES: tuple[type[Any], ...] = tuple(dict.fromkeys(step.policy for step in STEPS))
