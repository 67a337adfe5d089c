"""/admin: who may, what it shows, and that each act reaches edges, sessions and the audit trail."""

from typing import Any

import pytest

from tests.kit import database
from tests.kit.identity import IdentityWorld
from tests.kit.people import Person, make_admin, new_email, new_password, register

CALLS: list[tuple[str, str, Any]] = [
    ("GET", "/admin/users", None), ("GET", "/admin/users/USER", None), ("DELETE", "/admin/users/USER", None),
    ("PUT", "/admin/users/USER/roles", {"roles": ["admin"]}), ("POST", "/admin/users/USER/lock", {}),
    ("POST", "/admin/users/USER/unlock", None), ("GET", "/admin/users/USER/sessions", None),
    ("DELETE", "/admin/users/USER/sessions", None), ("PATCH", "/admin/users/USER/meta", {"protected": {}}),
    ("POST", "/admin/users/USER/password-reset", None), ("GET", "/admin/roles", None),
    ("POST", "/admin/roles", {"name": "clerk"}), ("PUT", "/admin/roles/user", {"permissions": []}),
    ("DELETE", "/admin/roles/user", None), ("GET", "/admin/invites", None), ("POST", "/admin/invites", {}),
    ("DELETE", "/admin/invites/0", None), ("GET", "/admin/sessions", None),
    ("DELETE", "/admin/sessions/SESSION", None), ("GET", "/admin/events", None),
    ("POST", "/admin/keys/rotate", None),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
def test_none_of_it_is_for_others(
    house: IdentityWorld, person: Person, method: str, path: str, body: Any
) -> None:
    stranger = register(house)
    path = path.replace("USER", stranger.user_id).replace("SESSION", stranger.session)
    nobody, user = house.call(method, path, body), person.ask(method, path, body)
    assert (nobody.status, nobody.code) == (401, "credential_missing")
    assert (user.status, user.code) == (403, "insufficient_scope")
    assert b'error="insufficient_scope"' in user.value(b"www-authenticate")
    assert stranger.get().status == 200


def trail(admin: Person, user: Person, event: str) -> list[dict[str, Any]]:
    return list(admin.ask("GET", f"/admin/events?user={user.user_id}&event={event}").json()["events"])


def test_looking_for_a_user(admin: Person, person: Person) -> None:
    for search in (person.email, person.username, person.email[2:9].upper()):
        found = admin.ask("GET", f"/admin/users?search={search}").json()["users"]
        assert person.user_id in [user["user_id"] for user in found]
    assert admin.ask("GET", "/admin/users?search=%25_%25").json()["users"] == []


def test_page_by_page(house: IdentityWorld, admin: Person) -> None:
    for _ in range(6):
        register(house)
    seen: list[str] = []
    after = 0
    for _ in range(3):
        page = admin.ask("GET", f"/admin/users?limit=2&after={after}").json()
        seen += [user["user_id"] for user in page["users"]]
        after = page["next"]
    assert len(seen) == 6 == len(set(seen))


def test_one_user_whole(admin: Person, person: Person) -> None:
    whole = admin.ask("GET", f"/admin/users/{person.user_id}").json()
    assert whole["email"] == person.email and whole["has_password"] is True
    assert (whole["locked"], whole["protected"]) == (False, {})
    assert whole["last_login_address"] == person.address
    assert person.password not in str(whole) and "$argon2" not in str(whole)


@pytest.mark.parametrize("user", ["00000000-0000-4000-8000-000000000000", "x", "%00", "1'%20OR%20'1'='1"])
def test_a_user_that_is_not_there(admin: Person, user: str) -> None:
    assert admin.ask("GET", f"/admin/users/{user}").status in (400, 404)
    assert admin.ask("POST", f"/admin/users/{user}/lock").status in (400, 404)


def test_locking_and_unlocking(house: IdentityWorld, admin: Person, person: Person) -> None:
    other = person.elsewhere()
    locked = admin.ask("POST", f"/admin/users/{person.user_id}/lock", {"why": "left the house"})
    assert locked.json()["propagated"] == {"edges": 2, "acknowledged": 2}
    for one in (person, other):
        assert one.get().code == "invalid_token" and one.renew().code == "invalid_refresh_token"
    login = {"email": person.email, "password": person.password}
    assert person.call("POST", "/login", login).code == "invalid_credentials"
    assert admin.ask("GET", f"/admin/users/{person.user_id}").json()["locked_why"] == "left the house"
    assert admin.ask("POST", f"/admin/users/{person.user_id}/unlock").json()["locked"] is False
    assert person.get().code == "invalid_token", "what has ended does not come back"
    assert person.sign_in().get().status == 200
    (event,) = trail(admin, person, "user.locked")
    assert event["actor"] == admin.user_id and event["address"] == admin.address


def test_roles_are_given_and_taken(house: IdentityWorld, admin: Person, person: Person) -> None:
    path = f"/admin/users/{person.user_id}/roles"
    assert person.get().status == 200
    assert admin.ask("PUT", path, {"roles": ["user", "admin"]}).status == 200
    assert person.get().status == 200
    assert house.seen.value(b"x-user-roles") == b"admin,user"
    assert house.seen.value(b"x-user-permissions") == b"postern:admin"
    assert person.ask("GET", "/admin/users?limit=1").status == 200
    assert admin.ask("PUT", path, {"roles": []}).status == 200
    assert person.get().status == 200
    assert house.seen.value(b"x-user-roles") == b""
    assert person.ask("GET", "/admin/users").code == "insufficient_scope"
    assert admin.ask("PUT", path, {"roles": ["no-such-role"]}).status == 422
    assert len(trail(admin, person, "user.roles_changed")) == 2


def test_a_role_s_permissions_reach_who_has_it(house: IdentityWorld, admin: Person, person: Person) -> None:
    name = f"clerk-{person.username}"
    made = admin.ask("POST", "/admin/roles", {"name": name, "permissions": ["orders:read"]})
    assert made.json(201)["permissions"] == ["orders:read"]
    assert admin.ask("POST", "/admin/roles", {"name": name}).status == 409
    assert admin.ask("PUT", f"/admin/users/{person.user_id}/roles", {"roles": [name]}).status == 200
    assert person.get().status == 200
    assert house.seen.value(b"x-user-permissions") == b"orders:read"
    changed = admin.ask("PUT", f"/admin/roles/{name}", {"permissions": ["orders:*"]})
    assert changed.json()["propagated"]["acknowledged"] == 2
    assert person.get().status == 200
    assert house.seen.value(b"x-user-permissions") == b"orders:*"
    assert admin.ask("DELETE", f"/admin/roles/{name}").status == 200
    assert person.get().status == 200
    assert (house.seen.value(b"x-user-roles"), house.seen.value(b"x-user-permissions")) == (b"", b"")


@pytest.mark.parametrize("name", ["", "a b", "x" * 500, "a\nb", "ä", 5, None])
def test_a_role_s_name_is_plain(admin: Person, name: Any) -> None:
    assert admin.ask("POST", "/admin/roles", {"name": name}).status == 422


@pytest.mark.parametrize("name", ["user", "admin"])
def test_shipped_roles_stay(admin: Person, name: str) -> None:
    assert admin.ask("DELETE", f"/admin/roles/{name}").status == 409


def test_the_last_admin_stays(house: IdentityWorld, admin: Person) -> None:
    """Nobody locks the house and throws the key away."""
    for other in admins_of(house) - {admin.user_id}:  # other tests leave some behind
        assert admin.ask("PUT", f"/admin/users/{other}/roles", {"roles": []}).status == 200
    me = f"/admin/users/{admin.user_id}"
    for method, path, body in (
        ("PUT", f"{me}/roles", {"roles": ["user"]}), ("POST", f"{me}/lock", {}), ("DELETE", me, None),
        ("PUT", "/admin/roles/admin", {"permissions": []}), ("DELETE", "/me", None),
    ):  # fmt: skip
        answer = admin.ask(method, path, body)
        assert (answer.status, answer.code) == (409, "last_admin"), (path, answer)
    assert admin.get().status == 200


def admins_of(house: IdentityWorld) -> set[str]:
    able = "SELECT user_id FROM user_roles WHERE role IN (SELECT name FROM roles WHERE permissions LIKE"
    return {user_id for (user_id,) in database.rows(house.url, f"{able} '%\"postern:admin\"%')")}


def test_where_a_user_is_signed_in(house: IdentityWorld, admin: Person, person: Person) -> None:
    other = person.elsewhere()
    path = f"/admin/users/{person.user_id}/sessions"
    listed = admin.ask("GET", path).json()["sessions"]
    assert {each["session_id"] for each in listed} == {person.session, other.session}
    assert admin.ask("DELETE", f"/admin/sessions/{other.session}").status == 200
    assert other.get().code == "invalid_token" and person.get().status == 200
    assert admin.ask("DELETE", path).status == 200
    assert person.get().code == "invalid_token"
    assert admin.ask("GET", path).json()["sessions"] == []


def test_everybody_s_sessions(house: IdentityWorld, admin: Person, person: Person) -> None:
    found: dict[str, str] = {}
    after = ""
    while after is not None:
        page = admin.ask("GET", f"/admin/sessions?limit=200&after={after}").json()
        found |= {each["session_id"]: each["user_id"] for each in page["sessions"]}
        after = page["next"]
    assert found[person.session] == person.user_id and found[admin.session] == admin.user_id


def test_both_kinds_of_meta(house: IdentityWorld, admin: Person, person: Person) -> None:
    path = f"/admin/users/{person.user_id}/meta"
    assert admin.ask("PATCH", path, {"protected": {"plan": "pro"}, "public": {"tier": "gold"}}).status == 200
    assert person.get().status == 200
    assert house.seen.value(b"x-user-meta-plan") == b"pro"
    assert house.seen.value(b"x-user-public-tier") == b"gold"
    assert person.ask("GET", "/me").json()["meta"] == {"tier": "gold"}, "the protected one is not the user's"
    assert admin.ask("PATCH", path, {"protected": {"plan": None}}).status == 200
    assert person.get().status == 200
    assert house.seen.values(b"x-user-meta-plan") == []


def test_a_reset_s_key_sets_one_password_once(house: IdentityWorld, admin: Person, person: Person) -> None:
    said = admin.ask("POST", f"/admin/users/{person.user_id}/password-reset").json()
    assert said["propagated"]["acknowledged"] == 2 and 3000 < said["expires_in"] <= 3600
    assert person.get().code == "invalid_token"
    login = {"email": person.email, "password": person.password}
    assert person.call("POST", "/login", login).code == "invalid_credentials"
    weak = person.call("POST", "/password/reset", {"key": said["key"], "new_password": "short"})
    assert weak.status == 422
    person.password = new_password()
    body = {"key": said["key"], "new_password": person.password}
    assert person.call("POST", "/password/reset", body).status == 200
    assert person.call("POST", "/password/reset", body).code == "invalid_key"
    assert person.sign_in().get().status == 200


def test_an_invitation_for_one_address_with_a_role(house: IdentityWorld, admin: Person) -> None:
    email = new_email()
    made = admin.ask("POST", "/admin/invites", {"email": email, "roles": ["admin"]}).json(201)
    listed = admin.ask("GET", "/admin/invites").json()["invites"]
    assert made["id"] in [each["id"] for each in listed]
    assert made["invite"] not in str(listed)
    body = {"email": new_email(), "password": new_password(), "invite": made["invite"]}
    assert house.call("POST", "/register", body).code == "invalid_key"
    guest = Person(house, email=email).register(invite=made["invite"])
    assert "admin" in guest.given["user"]["roles"]
    assert admin.ask("PUT", f"/admin/users/{guest.user_id}/roles", {"roles": ["user"]}).status == 200


def test_an_invitation_can_be_withdrawn(house: IdentityWorld, admin: Person) -> None:
    made = admin.ask("POST", "/admin/invites", {}).json(201)
    assert admin.ask("DELETE", f"/admin/invites/{made['id']}").status == 204
    body = {"email": new_email(), "password": new_password(), "invite": made["invite"]}
    assert house.call("POST", "/register", body).code == "invalid_key"
    assert admin.ask("DELETE", f"/admin/invites/{made['id']}").status == 404


def test_what_happened_is_told_to_its_user(person: Person) -> None:
    person.renewed()
    assert person.call("POST", "/login", {"email": person.email, "password": new_password()}).status == 401
    person.elsewhere()
    events = person.ask("GET", "/events").json()["events"]
    assert [event["id"] for event in events] == sorted((event["id"] for event in events), reverse=True)
    assert {"user.registered", "session.created", "login.failed"} <= {event["event"] for event in events}
    assert {event["user_id"] for event in events} == {person.user_id}


def test_events_page_by_page_and_only_one_s_own(house: IdentityWorld, person: Person) -> None:
    other = person.elsewhere()
    whole = person.ask("GET", "/events").json()["events"]
    before, found = 0, []
    while before is not None:
        page = person.ask("GET", f"/events?limit=1&before={before}").json()
        found += page["events"]
        before = page["next"]
    assert found == whole
    assert register(house).ask("GET", "/events").json()["events"] != whole
    assert other.ask("GET", "/events?limit=0").status == 422


def test_the_command_line_s_acts_reach_the_edges(house: IdentityWorld, person: Person) -> None:
    make_admin(house)  # or the person below would be the last one
    assert person.get().status == 200
    house.postern("users", "lock", person.email, "--why", "test")
    assert person.get().code == "invalid_token"
    house.postern("users", "unlock", person.email)
    person.sign_in()
    assert person.get().status == 200
    house.postern("users", "roles", person.username, "--add", "admin")
    assert person.get().status == 200
    assert house.seen.value(b"x-user-roles") == b"admin,user"
    house.postern("users", "roles", person.username, "--remove", "admin")
    house.postern("sessions", "revoke", person.session)
    assert person.get().code == "invalid_token"


def test_a_role_once_given_can_be_seen_by_its_owner(house: IdentityWorld) -> None:
    admin = make_admin(house)
    assert admin.ask("GET", "/me").json()["permissions"] == ["postern:admin"]
