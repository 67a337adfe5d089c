"""The master secrets: checked, found or made once, and what is sealed with them."""

import hashlib
import hmac
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.faults import ConfigFaults
from gateway.config.service import Service
from gateway.identity import secrets
from gateway.identity.secrets import NotOpened, Secrets

OLD, NEW = secrets.make(), secrets.make()
WRITER = """
import sys
from gateway.config.service import Service
from gateway.identity import secrets
from gateway.service_log import ServiceLog
sys.stdin.read()
made = secrets.load(Service(data=sys.argv[1], database_url="sqlite:" + sys.argv[1] + "/none"), ServiceLog())
print(made.newest)
"""


class Told:
    """A log that keeps what it was told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, message: str, **fields: object) -> None:
        self.lines.append(f"info {message} {fields}")

    def warning(self, message: str, **fields: object) -> None:
        self.lines.append(f"warning {message} {fields}")


def service(folder: Path, *texts: str, database: str = "") -> Service:
    data = folder / "data"
    return Service(secrets=texts, data=str(data), database_url=database or f"sqlite:{data}/postern.db")


def loaded(settings: Service) -> Secrets:
    return secrets.load(settings, Told())


def refused(settings: Service) -> str:
    with pytest.raises(ConfigFaults) as raised:
        secrets.load(settings, Told())
    return str(raised.value)


# Where they come from


def test_the_configured_ones_count_the_newest_first(tmp_path: Path) -> None:
    found = loaded(service(tmp_path, NEW, OLD))
    assert found.key_ids == [Secrets([NEW]).newest, Secrets([OLD]).newest]
    assert not (tmp_path / "data").exists()


def test_every_bad_secret_is_told_and_none_is_shown(tmp_path: Path) -> None:
    told = refused(service(tmp_path, "short-but-secret", NEW, "abcabcab" * 8))
    assert "secret 1 is shorter than 32 bytes" in told
    assert "secret 3 has fewer than 8 different characters" in told
    assert told.count("`postern secret` makes one") == 2
    assert not any(each in told for each in ("short-but", NEW, "abcabc"))


def test_bytes_are_counted_not_letters() -> None:
    Secrets(["äöüßñéçø" * 2])
    with pytest.raises(ConfigFaults):
        Secrets(["äöüßñéç" * 2 + "abc"])


def test_one_is_made_at_the_first_start_and_kept(tmp_path: Path) -> None:
    told = Told()
    first = secrets.load(service(tmp_path), told)
    path = tmp_path / "data" / "secret"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert len(path.read_text().strip()) >= 32
    [line] = told.lines
    assert str(path) in line
    assert path.read_text().strip() not in line
    (path.parent / "postern.db").write_bytes(b"a database")
    assert loaded(service(tmp_path)).newest == first.newest
    assert [each.name for each in path.parent.iterdir() if each.name.startswith("secret")] == ["secret"]


def test_starts_at_the_same_time_agree_on_one(tmp_path: Path) -> None:
    starting = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )
        for _ in range(4)
    ]  # fmt: skip
    for each in starting:
        assert each.stdin is not None
        each.stdin.close()
        each.stdin = None
    said = [each.communicate(timeout=60) for each in starting]
    assert len({output for output, _ in said}) == 1, said
    assert [each.returncode for each in starting] == [0, 0, 0, 0]


def test_the_file_may_hold_older_ones_too(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "secret").write_text(f"{NEW}\n\n  {OLD}\n")
    assert loaded(service(tmp_path)).key_ids == Secrets([NEW, OLD]).key_ids


def test_none_is_made_beside_a_database_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "postern.db").write_bytes(b"a database")
    told = refused(service(tmp_path))
    assert "put" in told and "back from the backup" in told and "POSTERN_SECRET" in told
    assert not (tmp_path / "data" / "secret").exists()


def test_none_is_made_nor_read_for_postgresql(tmp_path: Path) -> None:
    loaded(service(tmp_path))
    told = refused(service(tmp_path, database="postgresql://bob:hush@db/postern"))
    assert "every replica" in told and "`postern secret`" in told
    assert "hush" not in told


def test_an_empty_file_is_no_secret(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "secret").write_text("\n")
    assert "is empty" in refused(service(tmp_path))


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "theirs").write_text(NEW)
    (tmp_path / "data" / "secret").symlink_to(tmp_path / "theirs")
    assert "can't be read" in refused(service(tmp_path))


def test_a_file_that_others_may_read_is_told(tmp_path: Path) -> None:
    loaded(service(tmp_path))
    os.chmod(tmp_path / "data" / "secret", 0o644)
    told = Told()
    secrets.load(service(tmp_path), told)
    [line] = told.lines
    assert line.startswith("warning") and "chmod 600" in line


def test_a_data_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    assert "data" in refused(service(tmp_path))


def test_start_is_refused_while_a_secret_is_missing() -> None:
    both = Secrets([NEW, OLD])
    new, old = both.key_ids
    both.require([new, old, old])
    assert both.missing([]) == []
    assert Secrets([NEW]).missing([new, old, old]) == [old]
    with pytest.raises(ConfigFaults) as raised:
        Secrets([NEW]).require([old, new, "00000000"])
    told = str(raised.value)
    assert old in told and "00000000" in told and new not in told
    assert "rewrap" in told


def test_T25_secrets_do_not_show_themselves() -> None:
    both = Secrets([NEW, OLD])
    assert NEW not in repr(both) and OLD not in repr(both)
    assert both.newest in repr(both)


# What is made of them


def test_keys_are_those_of_rfc_5869() -> None:
    """Its two steps for one block of output, written out."""
    one = Secrets([NEW])
    prk = hmac.digest(b"salt", NEW.encode(), hashlib.sha256)
    assert one.derive(one.newest, b"salt", "info") == hmac.digest(prk, b"info\x01", hashlib.sha256)
    assert one.derive("00000000", b"salt", "info") is None


@given(st.binary(max_size=300), st.text(max_size=20), st.text(max_size=20))
def test_what_is_sealed_opens_for_its_row_alone(plain: bytes, row: str, other: str) -> None:
    one = Secrets([NEW])
    sealed = one.seal(plain, "seed", row)
    assert one.open(sealed, "seed", row) == plain
    assert secrets.sealed_with(sealed) == one.newest
    if other != row:
        with pytest.raises(NotOpened):
            one.open(sealed, "seed", other)
    with pytest.raises(NotOpened):
        one.open(sealed, "key", row)


def test_no_bit_of_what_is_sealed_can_be_changed() -> None:
    one = Secrets([NEW])
    sealed = one.seal(b"plain", "seed", "row")
    for bit in range(8 * len(sealed)):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(NotOpened):
            one.open(bytes(changed), "seed", "row")
    for length in range(len(sealed)):
        with pytest.raises(NotOpened):
            one.open(sealed[:length], "seed", "row")


def test_nothing_is_sealed_twice_alike() -> None:
    one = Secrets([NEW])
    assert one.seal(b"plain", "seed", "row") != one.seal(b"plain", "seed", "row")


def test_rewrap_moves_to_the_newest() -> None:
    before, both = Secrets([OLD]), Secrets([NEW, OLD])
    sealed = before.seal(b"plain", "seed", "row")
    moved = both.rewrap(sealed, "seed", "row")
    assert secrets.sealed_with(moved) == both.newest
    assert Secrets([NEW]).open(moved, "seed", "row") == b"plain"
    assert both.rewrap(moved, "seed", "row") is moved
    with pytest.raises(NotOpened, match=before.newest):
        Secrets([NEW]).rewrap(sealed, "seed", "row")
