"""People who use the gateway: each with an account, an address of their own, and what they were given."""

import re
import secrets
from dataclasses import dataclass, field, replace
from typing import Any

from tests.kit.identity import IdentityWorld
from tests.kit.raw import Answer

COOKIE = "__Host-postern"  # where the base URL is https; on plain http without the prefix
AGENT = b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
SAME_ORIGIN = b"Sec-Fetch-Site: same-origin"


def new_address() -> str:
    """A client's address that no other test has: limits and lockouts count by it."""
    return "127." + ".".join(str(1 + secrets.randbelow(254)) for _ in range(3))


def new_password() -> str:
    return "pw-" + secrets.token_hex(12)


def new_email() -> str:
    return f"u{secrets.token_hex(6)}@example.test"


@dataclass
class Person:
    """One account, and one session of it: that of the last sign-in."""

    world: IdentityWorld
    email: str = field(default_factory=new_email)
    password: str = field(default_factory=new_password)
    username: str = field(default_factory=lambda: f"u{secrets.token_hex(6)}")
    address: str = field(default_factory=new_address)
    access: str = ""
    refresh: str = ""
    session: str = ""
    user_id: str = ""
    cookie: str = ""
    device: str = ""  # the cookie by which the browser is known
    given: dict[str, Any] = field(default_factory=dict)  # the last token answer

    # what anybody may ask

    def call(self, method: str, path: str, body: Any = None, *lines: bytes) -> Answer:
        """A call of the API without a credential."""
        return self.world.call(method, path, body, AGENT, *lines, source=self.address)

    def register(self, **more: Any) -> "Person":
        body = {"email": self.email, "password": self.password, "username": self.username, **more}
        self.take(self.call("POST", "/register", body), 201)
        return self

    def sign_in(self, **more: Any) -> "Person":
        """A new session; the one before goes on, but is forgotten here."""
        body = {"email": self.email, "password": self.password, **more}
        self.take(self.call("POST", "/login", body), 200)
        return self

    def elsewhere(self, **more: Any) -> "Person":
        """The same user, signed in on another device."""
        return replace(self, address=new_address(), access="", refresh="", cookie="").sign_in(**more)

    def take(self, answer: Answer, status: int = 200) -> dict[str, Any]:
        """What a token answer brings."""
        given: dict[str, Any] = answer.json(status)
        self.given = given
        self.access = given.get("access_token", "")
        self.refresh = given.get("refresh_token", "")
        self.session = given.get("session_id", self.session)
        self.user_id = given.get("user", {}).get("user_id", self.user_id)
        self.take_cookie(answer)
        return given

    def take_cookie(self, answer: Answer) -> str:
        """The session's cookie, if this answer sets it; what it sets."""
        session = ""
        for line in answer.values(b"set-cookie"):
            found = re.match(rf"{self.world.cookie}(-device)?=([^;]*)", line.decode())
            if found and found[1]:
                self.device = found[2]
            elif found:
                self.cookie, session = found[2], line.decode()
        return session

    # with the access token

    @property
    def bearer(self) -> bytes:
        return b"Authorization: Bearer " + self.access.encode()

    def ask(self, method: str, path: str, body: Any = None, *lines: bytes) -> Answer:
        """A call of the API, signed in."""
        return self.call(method, path, body, self.bearer, *lines)

    def get(self, target: str = "/app/x", *lines: bytes) -> Answer:
        """A request to the backend, signed in."""
        return self.world.get(target, self.bearer, AGENT, *lines, source=self.address)

    def renew(self, token: str = "") -> Answer:
        """Refresh; the answer is not taken."""
        return self.call("POST", "/refresh", {"refresh_token": token or self.refresh})

    def renewed(self) -> "Person":
        self.take(self.renew())
        return self

    # with the cookie

    @property
    def cookie_line(self) -> bytes:
        return f"Cookie: {self.world.cookie}={self.cookie}".encode()

    def get_by_cookie(self, target: str = "/app/x", *lines: bytes) -> Answer:
        return self.world.get(target, self.cookie_line, AGENT, *lines, source=self.address)

    def ask_by_cookie(self, method: str, path: str, body: Any = None, *lines: bytes) -> Answer:
        return self.call(method, path, body, self.cookie_line, SAME_ORIGIN, *lines)


def register(world: IdentityWorld, **more: Any) -> Person:
    """A new account, signed in."""
    return Person(world).register(**more)


def works(world: IdentityWorld) -> bool:
    """Whether somebody new can register, and is known to the backend."""
    person = Person(world)
    answer = person.call("POST", "/register", {"email": person.email, "password": person.password})
    if answer.status != 201:
        return False
    person.take(answer, 201)
    return person.get("/app/works").status == 200


def make_admin(world: IdentityWorld) -> Person:
    """As an operator does it: by the command line, beside the running gateway."""
    if not world.admins:
        name, password = new_email(), new_password()
        world.ledger.note("password", password)
        world.postern("users", "add", name, "--role", "admin", "--password", text=password + "\n")
        world.admins.append((name, password))
    name, password = world.admins[0]
    return Person(world, email=name, password=password).sign_in()
