"""The schema of the policies about who somebody is: bind and require."""

import math
from typing import Annotated, Any

from pydantic import Field

from gateway.config.faults import NotRight, shown
from gateway.config.types import Bool, Int, Lasting, Strict, many, one_of, parsed, pattern
from gateway.model.identity import as_text

# As identity takes them; what nobody can have is a slip of the pen.
Role = Annotated[
    str,
    pattern(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}", "a role", "use up to 64 letters, digits and . _ : -"),
]
_PERMISSION = pattern(
    r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,99}", "a permission that can be required",
    "name it whole, such as orders:read; who holds orders:* has it too",
)  # fmt: skip
Permission = Annotated[str, _PERMISSION]


def _fact(value: Any) -> str:
    """As text, as Identity.protected has it."""
    whole = isinstance(value, int) and abs(value) < 2**63
    if isinstance(value, str) or whole or (isinstance(value, float) and math.isfinite(value)):
        return as_text(str(value) if isinstance(value, str) else value)
    raise NotRight(f"{shown(value)} can't be compared", "write text, a number, true or false")


Fact = Annotated[
    str, parsed(_fact, anyOf=[{"type": "string"}, {"type": "number"}, {"type": "boolean"}], title="value")
]
Key = Annotated[str, pattern(r"[^\x00-\x1f\x7f]{1,100}", "a key of meta")]


class Bind(Strict):
    address: Annotated[str, one_of("off", "exact", "prefix")] | None = Field(
        default=None, description="off (default), exact, or prefix: the same /24, of IPv6 the same /64"
    )
    agent: Annotated[str, one_of("off", "exact", "family")] | None = Field(
        default=None,
        description="off (default), exact, or family: browser and platform, whatever the version",
    )
    on_mismatch: Annotated[str, one_of("log", "step_up", "strict")] | None = Field(
        default=None,
        description="log (default): it passes; step_up: 401 until proved anew; strict: the session ends",
    )


class Require(Strict):
    roles: Annotated[list[Role], many()] | None = Field(default=None, description="any of these")
    permissions: Annotated[list[Permission], many()] | None = Field(
        default=None, description="all of these; who holds orders:* has orders:read"
    )
    level: Annotated[Int, Field(ge=1, le=2)] | None = Field(
        default=None, description="2: a second factor was used"
    )
    fresh: Lasting | None = Field(default=None, description="proved to be there within this time")
    confirmed: Bool | None = Field(default=None, description="true: the e-mail address is confirmed")
    meta: dict[Key, Fact] | None = Field(
        default=None, description="equal to these values of the protected meta"
    )
