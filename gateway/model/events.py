"""The names of what can happen, as the audit trail and webhooks tell them."""

EVENTS = (
    "user.registered", "user.changed", "user.confirmed", "user.deleted", "user.locked", "user.unlocked",
    "user.let_in", "user.email_asked", "user.email_changed", "user.email_undone",
    "user.roles_changed", "user.meta_changed", "users.imported", "register.address_taken",
    "session.created", "session.revoked", "session.moved", "session.mismatch", "session.rebound",
    "session.reauthenticated", "token.reused", "login.failed", "password.changed", "password.refused",
    "password.reset_asked", "user.credentials_removed", "password.reset_made", "invite.made",
    "invite.withdrawn", "role.made", "role.changed", "role.deleted", "keys.rotated",
)  # fmt: skip
GROUPS = tuple(sorted({event.partition(".")[0] for event in EVENTS}))
