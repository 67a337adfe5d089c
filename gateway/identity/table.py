"""The table of all calls: each file of http/ once, in the order of the document."""

from typing import Any

from gateway.config.service import Service
from gateway.identity import openapi
from gateway.identity.http import (
    admin_events,
    admin_keys,
    admin_roles,
    admin_sessions,
    admin_users,
    email,
    events,
    invites,
    jwks,
    login,
    logout,
    me,
    password,
    reauth,
    recovery,
    refresh,
    register,
    sessions,
    validate,
)
from gateway.identity.http import openapi as document_of
from gateway.identity.web import Endpoint

API = (
    register, login, reauth, refresh, validate, logout, sessions, me, password, recovery, email, events,
    admin_users, invites, admin_roles, admin_sessions, admin_events, admin_keys,
)  # fmt: skip


def endpoints(settings: Service) -> tuple[list[Endpoint], list[Endpoint]]:
    """Those under the prefix, and those under their own fixed paths."""
    document: dict[str, Any] = {}

    def filled() -> dict[str, Any]:
        if not document:  # when it is first asked for: it takes longer than all else at the start
            openapi.fill(document, settings, mounted)
        return document

    api = [endpoint for each in API for endpoint in each.ROUTES]
    api.append(document_of.endpoint(filled))
    keys = jwks.ROUTES
    mounted = [(settings.prefix, api)] + ([("", keys)] if "jwks" in settings.serve else [])
    return api, keys
