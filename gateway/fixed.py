"""What a reload can't change: named when it differs, and left as it is until a restart."""

import msgspec

from gateway.config.snapshot import Listen, Snapshot


class Fixed(msgspec.Struct, frozen=True):
    """What a reload can't change."""

    listen: tuple[Listen, ...]
    admin: Listen
    workers: int
    tls: bool  # on or off: certificates may change
    redirect: Listen | None
    forward_auth: tuple[Listen, ...] = ()


def fixed(snapshot: Snapshot, workers: int) -> Fixed:
    """`workers`: as the command line says, if it does."""
    redirect = snapshot.tls.redirect_http if snapshot.tls else None
    return Fixed(
        snapshot.listen, snapshot.admin, workers or snapshot.workers, snapshot.tls is not None, redirect,
        tuple(each.listen for each in snapshot.forward_auth),
    )  # fmt: skip


def changed_keys(old: Fixed, new: Fixed) -> tuple[str, ...]:
    names = {"redirect": "tls.redirect_http"}
    fields = [field for field in Fixed.__struct_fields__ if getattr(old, field) != getattr(new, field)]
    return tuple(names.get(field, field) for field in fields)


def with_fixed(new: Snapshot, old: Snapshot) -> Snapshot:
    """The new configuration with the old one's values of what a reload can't change."""
    tls = new.tls and old.tls and msgspec.structs.replace(new.tls, redirect_http=old.tls.redirect_http)
    said = {each.listen: each for each in new.forward_auth}
    return msgspec.structs.replace(
        new, listen=old.listen, admin=old.admin, workers=old.workers, tls=tls or old.tls,
        forward_auth=tuple(said.get(each.listen, each) for each in old.forward_auth),
    )  # fmt: skip
