"""YAML is read with YAML 1.2's scalars, keeps the line of every key, and never ends in a traceback."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.faults import ConfigFaults
from gateway.config.load import check
from gateway.config.loader import Source, parse
from gateway.config.variables import Variables


def read(text: str | bytes, environ: dict[str, str] | None = None, folder: Path = Path("/")) -> Source:
    source = Source("x.yaml", folder / "x.yaml")
    content = text if isinstance(text, bytes) else text.encode()
    parse(source, content, Variables(environ or {}, folder))
    return source


def value(scalar: str, **environ: str) -> object:
    source = read(f"a: {scalar}\n", environ)
    assert source.faults == []
    return source.data["a"]


@pytest.mark.parametrize(
    "scalar", ["on", "off", "yes", "no", "y", "n", "True", "FALSE", "Null", "NULL", "22:22", "010"]
)
def test_what_yaml_1_1_would_have_turned_is_text(scalar: str) -> None:
    assert value(scalar) == scalar


@pytest.mark.parametrize(
    "scalar", ["0x1F", "0o17", "1_000", "190:20:30", "2026-01-01", ".inf", ".nan", "=", "+", "-x", "1e999"]
)
def test_no_number_by_surprise(scalar: str) -> None:
    assert value(scalar) == scalar


def test_a_number_too_long_to_be_meant_is_text() -> None:
    assert value("9" * 5000) == "9" * 5000


@pytest.mark.parametrize(
    ("scalar", "meaning"),
    [
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("0", 0),
        ("-7", -7),
        ("+7", 7),
    ]
    + [
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("-1.", -1.0),
        ('"true"', "true"),
        ("'5'", "5"),
        ("!!str 5", "5"),
    ],
)
def test_the_other_scalars(scalar: str, meaning: object) -> None:
    assert value(scalar) == meaning
    assert type(value(scalar)) is type(meaning)


def test_each_key_and_item_has_its_line() -> None:
    source = read("a:\n  - x\n  - b: 1\n    c:\n      d: 2\n")
    assert source.lines[("a",)] == 1
    assert source.lines[("a", 0)] == 2
    assert source.lines[("a", 1, "b")] == 3
    assert source.lines[("a", 1, "c", "d")] == 5
    assert source.line(("a", 1, "c", "d", "nowhere")) == 5


def test_aliases_give_equal_values_that_are_not_shared() -> None:
    data = read("a: &x {b: [1]}\nc: *x\n").data
    assert data["a"] == data["c"] == {"b": [1]}
    assert data["a"] is not data["c"]


def test_variables_are_replaced_in_values_only() -> None:
    source = read(
        '"${A}": ${A}\nb: ["x${A}", "${NONE:-y}", "${EMPTY:-z}", "$${A}", "${EMPTY}"]\n',
        {"A": "1", "EMPTY": ""},
    )
    assert source.data == {"${A}": "1", "b": ["x1", "y", "z", "${A}", ""]}


def test_a_replaced_value_is_not_replaced_again() -> None:
    assert value("${A}", A="${B}", B="secret") == "${B}"


def test_a_missing_variable_is_noted_with_its_place() -> None:
    source = read("a:\n  b: ${NONE}\n")
    assert [(path, absent.problem) for path, absent in source.absent] == [
        (("a", "b"), "the environment has no NONE")
    ]


def test_a_secret_comes_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret\n")
    source = read("a: ${file:secret}\nb: ${file:none}\n", folder=tmp_path)
    assert source.data["a"] == "s3cret"
    assert source.files == [str(tmp_path / "secret")]
    assert [path for path, _ in source.absent] == [("b",)]


@pytest.mark.parametrize("content", [b"x" * 70_000, b"\xff\xfe", None])
def test_a_secret_that_is_too_large_or_no_text_is_missing(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "secret"
    path.mkdir() if content is None else path.write_bytes(content)
    assert len(read("a: ${file:secret}\n", folder=tmp_path).absent) == 1


def test_a_byte_order_mark_is_no_fault() -> None:
    assert read("\ufeffa: 1\n".encode()).data == {"a": 1}


def fault(text: str) -> str:
    (found,) = read(text).faults
    return str(found)


def test_aliases_are_bounded_by_what_they_expand_to() -> None:
    deep = "a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 60))
    assert "aliases nest this deeper than 40 levels" in fault(deep)
    wide = "a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9]\n"
    wide += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))
    assert "aliases make this larger than 1,000,000 values" in fault(wide)


def test_nesting_does_not_exhaust_the_stack() -> None:
    assert "nested deeper than 40 levels" in fault("a: " + "[" * 100_000)
    assert "nested deeper than 40 levels" in fault("a: " + "{a: " * 100_000)
    assert fault("".join(" " * n + "a:\n" for n in range(2000)))


PIECES = st.sampled_from(
    [
        "version: 1\n",
        "routes:\n",
        "  - name: a\n",
        "    match: {path: /**}\n",
        "upstreams: {a: http://h}\n",
        "&x",
        "*x",
    ]
    + [
        "!!str",
        "[",
        "]",
        "{",
        "}",
        "- ",
        ": ",
        "? ",
        "|",
        ">",
        "'",
        '"',
        "\n",
        "  ",
        "\t",
        "${",
        "}",
        "$${A}",
        "<<: *x\n",
    ]
    + [
        "---\n",
        "...\n",
        "%YAML 1.1\n",
        "#",
        "\\ud800",
        "é",
        "\x00",
        "\x85",
        "\u2028",
        "null",
        "1e999",
        "~",
        "=",
        "0x",
        "limits:",
    ]
)


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200), st.lists(PIECES, max_size=30).map(lambda parts: "".join(parts).encode())
    )
)
def test_no_bytes_lead_to_a_traceback(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_bytes(content)
    outcome(path)


def outcome(path: Path) -> None:
    """Either a configuration, or at least one fault that can be printed."""
    try:
        check(str(path), environ={})
    except ConfigFaults as faults:
        assert faults.faults
        assert str(faults).encode()


KEYS = st.text(max_size=5) | st.sampled_from([
    "version", "listen", "admin", "tls", "limits", "drain", "identity", "upstreams", "issuers",
    "defaults", "routes", "include", "name", "match", "path", "methods", "host", "headers", "upstream",
    "rewrite", "strip_prefix", "answer", "redirect", "to", "status", "policies", "cors", "origins",
    "credentials", "authenticate", "accept", "rate_limit", "limit", "body_limit", "request_headers",
    "set", "add", "remove", "security_headers", "servers", "url", "health", "tokens", "providers",
    "compat", "forward_auth", "access_log", "sample", "paths", "encoded_slash", "workers",
    "serve_stale", "plugins", "class", "key", "password", "mode",
])  # fmt: skip
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
    | st.sampled_from(["/**", "/a/{b}", "http://h", "10s", "none", "${A}", "${A:-1}", "/%2e", "*", "unix:x"])
)  # fmt: skip
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(KEYS, TREES, max_size=6))
def test_no_tree_of_values_leads_to_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, object]
) -> None:
    import json

    path = tmp_path_factory.getbasetemp() / "tree.yaml"
    path.write_text(json.dumps({"version": 1, **tree}))  # JSON is YAML
    outcome(path)
