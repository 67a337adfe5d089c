"""`postern doctor` and other issuers: whether their keys are within reach, before anybody is refused."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli.app import app
from tests.kit.provider import Provider, run_provider

ROUTES = """
version: 1
upstreams: {app: "http://127.0.0.1:9"}
issuers:
  corporate: {issuer: "ISSUER", audience: orders, algorithms: ALGORITHMS}
routes:
  - {name: app, match: {path: /**}, upstream: app, policies: {authenticate: {accept: ["issuer:corporate"]}}}
"""


def found(folder: Path, provider: Provider, algorithms: str = "[ES256]") -> tuple[str, str]:
    routes = folder / "routes.yaml"
    routes.write_text(ROUTES.replace("ISSUER", provider.issuer).replace("ALGORITHMS", algorithms))
    done = CliRunner().invoke(app(), ["doctor", "-c", str(routes), "--json"])
    [one] = [each for each in json.loads(done.stdout)["findings"] if each["check"] == "issuer corporate"]
    return one["state"], one["said"]


def test_the_doctor_looks_at_issuers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with run_provider() as provider:
        assert found(tmp_path, provider) == ("ok", "1 key that can be used")
        provider.rotate("second")
        assert found(tmp_path, provider) == ("ok", "2 keys that can be used")
        assert found(tmp_path, provider, "[RS256]") == (
            "warning",
            "it has no key that can be used with RS256",
        )
        provider.discovery["issuer"] += "/"
        state, said = found(tmp_path, provider)
        assert (state, said) == (
            "warning", "its keys can't be fetched: its openid-configuration is of another issuer",
        )  # fmt: skip
        provider.server.stop()
        assert found(tmp_path, provider)[0] == "warning"
