"""What the log's line of a request tells of the policies, and the same request to be asked once more."""

from typing import Any

from gateway.config.snapshot import Snapshot
from gateway.explaining.asked import LOCAL, Asked, BadQuestion, asked
from gateway.explaining.explanation import Said
from gateway.model.addresses import UNIX

_WITHOUT_A_SAY = ("applies", "off")


def again(snapshot: Snapshot, line: dict[str, Any], extra: list[str], host: str) -> Asked | None:
    """A request that finds the same route, without what the line does not have: credentials, host, query,
    other headers. None where the line has no whole path."""
    method, path = str(line.get("method")), str(line.get("path"))
    if not path.startswith("/") or not path.isascii() or path.endswith("..."):
        return None
    record = next((each for each in snapshot.routes if each.name == line.get("route")), None)
    lines = list(extra)
    if record is not None:
        lines += [f"{name}: {value}" for name, value in record.headers.items()]
        host = next(iter(record.hosts), host).replace("*.", "any.")
    client = str(line.get("client") or "")
    address = client if client == UNIX or client[:1].isalnum() or ":" in client else LOCAL
    try:
        return asked(method, path, lines, address=address, agent=str(line.get("agent") or ""), host=host)
    except BadQuestion:
        return None


def told(line: dict[str, Any], policies: list[Said]) -> list[Said]:
    """The policies of the line's route, in their order, with what the line says of each."""
    found = line.get("verdicts") or []
    codes = {str(each.get("policy")): str(each.get("code")) for each in found if isinstance(each, dict)}
    reached = line.get("server") is not None  # all of them have let it pass
    said: dict[str, Said] = {}
    over = False
    for policy in policies:
        name = policy.policy
        if name in said:
            continue
        code = codes.get(name)
        if code is not None:
            verdict = "would_refuse" if reached else "refused"
            said[name] = Said(name, verdict, ["as the line says"], code)  # type: ignore[arg-type]
            over = not reached
        elif policy.verdict in _WITHOUT_A_SAY:
            said[name] = policy
        elif over:
            said[name] = Said(name, "not_asked", ["an earlier refusal ended the round"])
        elif reached or codes:
            said[name] = Said(name, "allowed", ["no objection in the line"])
        else:
            said[name] = Said(name, "unknown", ["the gateway answered; the line does not tell when"])
    return list(said.values())
