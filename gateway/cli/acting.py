"""Acts on accounts and keys: done by the running service, or, when none runs, on the store itself."""

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from gateway.admin_token import data_folder
from gateway.cli.output import fail
from gateway.identity.control_client import NAME, ActRefused, ask

if TYPE_CHECKING:
    from gateway.config.service import Service


def act(config: str, name: str, /, **given: Any) -> Any:
    """The answer; what is wrong is said, and ends the command with 1."""
    try:
        return ask_running(name, given)
    except ConnectionError:
        return _by_ourselves(config, name, given)
    except ActRefused as refused:
        fail(str(refused))


def ask_running(name: str, given: dict[str, Any], timeout: float | None = None) -> Any:
    """The running service's answer; ConnectionError when none runs, ActRefused for all else that is wrong."""
    path = os.path.join(data_folder(), NAME)
    try:
        return ask(path, name, given) if timeout is None else ask(path, name, given, timeout)
    except ConnectionError:
        raise
    except TimeoutError:
        raise ActRefused(f"the running service does not answer on {path}; see its log") from None
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise ActRefused(f"{path} can't be used ({why}): run this as the gateway's user") from None


def _by_ourselves(config: str, name: str, given: dict[str, Any]) -> Any:
    service = settings_or_exit(config)
    from gateway.config.faults import ConfigFaults
    from gateway.store.faults import StoreFault

    try:
        return act_alone(service, name, given)
    except ActRefused as refused:
        fail(str(refused))
    except ConfigFaults as faults:
        _exit_with(faults)
    except StoreFault as fault:
        fail(f"the database can't be used: {fault}")


def act_alone(service: "Service", name: str, given: dict[str, Any]) -> Any:
    """On the store itself, where no service runs; ActRefused, ConfigFaults, StoreFault."""
    return asyncio.run(_open_and_act(service, name, given))


async def _open_and_act(service: "Service", name: str, given: dict[str, Any]) -> Any:
    from gateway.identity.acts import ACTS
    from gateway.identity.assembly import assemble, dismantle

    context = await assemble(service)
    try:
        return await ACTS[name](context, given)
    finally:
        await dismantle(context)


def settings_or_exit(config: str) -> "Service":
    """What the identity service would be given."""
    from gateway.config.compile import load_service
    from gateway.config.faults import ConfigFaults

    try:
        return load_service(config)
    except ConfigFaults as faults:
        _exit_with(faults)


def _exit_with(faults: Exception) -> NoReturn:
    import typer

    print(faults, file=sys.stderr)
    raise typer.Exit(1)
