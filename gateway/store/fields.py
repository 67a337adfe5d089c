"""Which public field a broken uniqueness is about: constraints are named table_column in both databases."""

_NAMES = {
    "users_email_key": "email",
    "users_username_key": "username",
    "users_user_id": "user_id",
    "roles_name": "name",
}


def public_field(constraint: str) -> str:
    return _NAMES.get(constraint, constraint)
