"""Mail: every letter rendered, links from base_url only, a real server that misbehaves, files without one."""

import asyncio
import re
from collections.abc import AsyncIterator
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.service import Mail, Service
from gateway.config.smtp_url import Server, server_of
from gateway.identity.letters import Letter
from gateway.identity.mail.carriers import mail_carrier
from gateway.identity.mail.files import FileCarrier
from gateway.identity.mail.rendering import SHIPPED, Renderer, languages
from gateway.identity.mail.smtp import SmtpCarrier
from gateway.identity.outbox import Never, NotNow, Refused
from tests.kit.certs import Authority
from tests.kit.smtp import PASSWORD, USER, MailServer, html_of, text_of

SETTINGS = Service(base_url="https://shop.example.com", site="Shop")
KEY = "psc_0123456789abcdefghijABCDEFGHIJ"
# every value that any letter may have, as those who post them give them
VALUES = {
    "link": f"/auth/confirm?key={KEY}", "not_me": "/auth/not-me?key=psd_1", "undo": "/auth/undo?key=psu_1",
    "forgot": "/auth/forgot", "when": "1 May 2027, 10:00 UTC", "place": "Firefox on Linux, 203.0.113.7",
    "expires": "2 May 2027, 10:00 UTC", "username": "Ann", "new": "a…@new.example", "code": "123456",
}  # fmt: skip
NAMES = sorted(path.stem for path in (SHIPPED / "en").glob("*.txt"))


def letter(name: str = "confirm", **more: Any) -> dict[str, Any]:
    given = {"name": name, "to": "ann@example.org", "user_name": "Ann", "values": VALUES} | more
    return msgspec.structs.asdict(Letter(**given))


class Seen(HTMLParser):
    """What a mail program would fetch, and where its links lead."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name in ("src", "background", "srcset", "poster", "data"):
                self.fetched.append(value or "")
            if name == "href" and tag == "a":
                self.links.append(value or "")


def test_the_letters_are_those_of_the_table() -> None:
    assert NAMES == [
        "code", "confirm", "email_new", "email_old", "invite", "magic", "new_device", "password_changed",
        "reset", "reused", "taken", "unlock", "username",
    ]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_letter_has_a_text_and_an_html_that_say_the_same(name: str) -> None:
    message = Renderer(SETTINGS).mail("the-id", letter(name))
    text, html = text_of(message), html_of(message)
    seen = Seen(html)
    assert message["Subject"] and "{" not in message["Subject"] + text + html
    assert message["Message-ID"] == "<the-id@shop.example.com>"
    assert message["From"] == "no-reply@shop.example.com" and message["To"] == "ann@example.org"
    assert seen.fetched == [] and not seen.tags & {"img", "script", "link", "iframe", "form"}
    links = set(re.findall(r"https?://\S+", text))
    assert set(seen.links) == links
    assert all(link == SETTINGS.base_url or link.startswith(f"{SETTINGS.base_url}/auth/") for link in links)
    assert "Shop" in text and "Shop" in html


def test_without_a_user_name_nothing_looks_odd() -> None:
    for name in NAMES:
        message = Renderer(SETTINGS).mail("id", letter(name, user_name="", values=VALUES | {"username": ""}))
        for text in (str(message["Subject"]), text_of(message)):
            assert "  " not in text and "()" not in text and "None" not in text


@pytest.mark.parametrize("text", ["{{ 7*7 }}", "{% raw %}", "${HOME}", "{env.SECRET}", "<b>x</b>", "a&b"])
def test_t23_what_looks_like_a_template_stays_text(text: str) -> None:
    values = VALUES | {"place": text}
    message = Renderer(SETTINGS).mail("id", letter("reset", user_name=text, values=values))
    assert text in text_of(message)
    html = html_of(message)
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert escaped in html and "49" not in html


@given(st.text(max_size=60), st.text(max_size=60))
def test_t22_nothing_in_a_value_becomes_a_header(name: str, place: str) -> None:
    settings = Service(base_url="https://shop.example.com", site=name)
    made = Renderer(settings).mail("id", letter("code", values=VALUES | {"place": place, "code": place}))
    message = message_from_bytes(made.as_bytes(), policy=default)
    assert set(message.keys()) == {
        "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type",
    }  # fmt: skip


def test_access_pass_s_variables_work(tmp_path: Path) -> None:
    (tmp_path / "en").mkdir()
    (tmp_path / "en/confirm.txt").write_text(
        "Subject: Hi {{ user_name }}\n{{ base_url }}/confirm?{{ conf_key }} [{{ password_key }}]\n"
    )
    settings = Service(base_url="https://shop.example.com", mail=Mail(templates=str(tmp_path)))
    message = Renderer(settings).mail("id", letter())
    assert message["Subject"] == "Hi Ann"
    assert text_of(message).strip() == f"https://shop.example.com/confirm?{KEY} []"
    reset = Renderer(settings).mail("id", letter("reset", values=VALUES | {"link": "/auth/reset?key=psp_x"}))
    assert "https://shop.example.com/auth/reset?key=psp_x" in text_of(reset)  # the shipped one, still


def test_a_house_s_own_language_is_chosen_as_the_reader_asks(tmp_path: Path) -> None:
    for language in ("de", "fr-CA"):
        (tmp_path / language).mkdir()
        (tmp_path / language / "code.txt").write_text(f"Subject: {language}\nx\n")
    settings = Service(base_url="https://shop.example.com", mail=Mail(templates=str(tmp_path)))

    def subject(wanted: str) -> str:
        return str(Renderer(settings).mail("id", letter("code", language=wanted))["Subject"])

    assert subject("de-AT,de;q=0.9,en;q=0.5") == "de"
    assert subject("fr-CA") == "fr-CA"
    assert subject("es;q=0.2, de;q=0.1") == "de"
    assert subject("../../etc/passwd") == subject("") == "123456 is your code for shop.example.com"
    own = msgspec.structs.replace(settings, mail=Mail(templates=str(tmp_path), language="de"))
    assert Renderer(own).mail("id", letter("code"))["Subject"] == "de"


@given(st.text(max_size=80))
def test_any_accept_language_is_read(text: str) -> None:
    assert all(re.fullmatch(r"[A-Za-z0-9-]+", each) for each in languages(text))


def test_a_broken_template_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "en").mkdir()
    settings = Service(mail=Mail(templates=str(tmp_path)))
    for text in ("Subject: {{ nothing_such }}\n", "Subject: {% if %}\n", "no subject\n"):
        (tmp_path / "en/code.txt").write_text(text)
        with pytest.raises(Never):
            Renderer(settings).mail("id", letter("code"))


# A real server


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


@pytest.fixture
async def server(authority: Authority) -> AsyncIterator[MailServer]:
    made = MailServer(authority, sign_in=True)
    await made.start()
    yield made
    await made.stop()


def carrier(server: MailServer, authority: Authority | None, url: str = "") -> SmtpCarrier:
    quoted = PASSWORD.replace(" ", "%20").replace("'", "%27")
    where = server_of(url or f"smtp://{USER}:{quoted}@localhost:{server.port}?tls=required")
    return SmtpCarrier(where, Renderer(SETTINGS), authority.client_context() if authority else None)


async def test_a_mail_goes_by_starttls_with_sign_in(server: MailServer, authority: Authority) -> None:
    await carrier(server, authority).send("id1", "confirm", letter())
    [mail] = server.mails
    assert server.recipients == [["ann@example.org"]] and server.secure == [True]
    assert KEY in text_of(mail) and mail["Message-ID"] == "<id1@shop.example.com>"


async def test_a_server_that_can_t_be_trusted_is_told_nothing(server: MailServer, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "other")
    with pytest.raises(NotNow, match="TLS can't be trusted|can't be used"):
        await carrier(server, stranger).send("id", "confirm", letter())
    assert server.mails == []


@pytest.mark.filterwarnings("ignore:Requiring AUTH")
async def test_a_password_never_goes_in_clear() -> None:
    plain = MailServer(sign_in=True)
    await plain.start()
    try:
        with pytest.raises(NotNow):
            await carrier(plain, None).send("id", "confirm", letter())  # it offers no STARTTLS
    finally:
        await plain.stop()
    assert plain.mails == []
    for url in ("smtp://ann:x@mail.example?tls=off", "smtp://ann:x@mail.example:25?tls=offered"):
        with pytest.raises(ValueError, match="over TLS only"):
            server_of(url)
    assert server_of("smtp://ann:x@mail.example").starttls is True


async def test_without_a_password_tls_is_used_when_it_is_offered(authority: Authority) -> None:
    for own, secure in ((authority, True), (None, False)):
        server = MailServer(own)
        await server.start()
        url = f"smtp://localhost:{server.port}"
        await carrier(server, authority, url).send("id", "confirm", letter())
        assert server.secure == [secure]
        await server.stop()


async def test_what_the_server_says_is_tried_again_or_given_up(
    server: MailServer, authority: Authority
) -> None:
    by = carrier(server, authority)
    server.replies = {"RCPT": ["450 greylisted", "550 nobody here"], "DATA": ["452 full", "554 no"]}
    with pytest.raises(NotNow) as greylisted:
        await by.send("id", "confirm", letter())
    assert type(greylisted.value) is NotNow
    with pytest.raises(Refused, match="550"):
        await by.send("id", "confirm", letter())
    for code in ("452", "554"):
        with pytest.raises(NotNow, match=code) as answered:
            await by.send("id", "confirm", letter())
        assert "ann" not in str(answered.value)
    await by.send("id", "confirm", letter())
    assert len(server.mails) == 1


async def test_a_server_killed_in_data_or_down_is_tried_again(
    server: MailServer, authority: Authority
) -> None:
    by = carrier(server, authority)
    server.kill_in_data = 1
    with pytest.raises(NotNow):
        await by.send("id", "confirm", letter())
    await server.stop()
    with pytest.raises(NotNow):
        await by.send("id", "confirm", letter())
    await server.start()
    await by.send("id", "confirm", letter())
    assert len(server.mails) == 1


async def test_a_server_too_slow_is_given_up_for_now(
    server: MailServer, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gateway.identity.mail import smtp

    monkeypatch.setattr(smtp, "TIMEOUT", 0.3)
    server.slow = asyncio.Event()
    with pytest.raises(NotNow, match="slow|can't be used"):
        await carrier(server, authority).send("id", "confirm", letter())
    server.slow.set()


async def test_a_reader_s_address_may_be_of_any_script(server: MailServer, authority: Authority) -> None:
    await carrier(server, authority).send("id", "confirm", letter(to="jörg@example.org"))
    assert server.recipients == [["jörg@example.org"]]


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://mail.example", Server("mail.example", 25, "", "", False, None)),
        ("smtps://a%40b:p%3Aq@mail.example", Server("mail.example", 465, "a@b", "p:q", True, False)),
        ("smtp://a:b@mail.example", Server("mail.example", 587, "a", "b", False, True)),
        ("smtp://localhost:1025?tls=off", Server("localhost", 1025, "", "", False, False)),
        ("smtp://a:b@localhost", Server("localhost", 587, "a", "b", False, None)),
    ],
)
def test_an_smtp_url_says_where_and_how(url: str, server: Server) -> None:
    assert server_of(url) == server
    assert "p:q" not in repr(server_of(url))


@pytest.mark.parametrize(
    "url", ["mail.example", "http://mail.example", "smtp://", "smtp://m/x", "smtp://m?tls=maybe",
            "smtp://m?x=1", "smtps://m?tls=off", "smtp://m:99999"],
)  # fmt: skip
def test_what_is_no_smtp_url_is_told(url: str) -> None:
    with pytest.raises(ValueError):
        server_of(url)


# Files


async def test_without_a_server_a_mail_is_a_file_for_its_owner_only(tmp_path: Path) -> None:
    by = mail_carrier(Service(base_url="https://shop.example.com", data=str(tmp_path)))
    assert isinstance(by, FileCarrier)
    await by.send("id1", "confirm", letter())
    await by.send("id1", "confirm", letter())  # sent again: one file
    [path] = (tmp_path / "mail").iterdir()
    assert path.name == "id1.eml" and path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "mail").stat().st_mode & 0o777 == 0o700
    message = message_from_bytes(path.read_bytes(), policy=default)
    assert isinstance(message, EmailMessage)
    assert KEY in text_of(message)


async def test_a_folder_that_can_t_be_written_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "mail").write_text("in the way")
    with pytest.raises(NotNow):
        await mail_carrier(Service(data=str(tmp_path))).send("id", "confirm", letter())
