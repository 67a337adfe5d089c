"""A new configuration is in force everywhere, or nowhere."""

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.processes.supervised import PATIENCE, Supervised, supervised, until


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Supervised]:
    with supervised(tmp_path, workers=2) as running:
        yield running


def in_force(gateway: Supervised, config: str) -> None:
    until(lambda: gateway.ask_all() == {"0": config, "1": config}, gateway.log())


def test_sighup_loads_the_file(gateway: Supervised) -> None:
    gateway.write(hash="two")
    gateway.signal(signal.SIGHUP)
    in_force(gateway, "two")


def test_a_changed_file_is_loaded(gateway: Supervised) -> None:
    gateway.write(hash="two")
    in_force(gateway, "two")
    assert any("its files changed" in line for line in gateway.messages())


def test_a_renewed_certificate_is_loaded(tmp_path: Path) -> None:
    certificate = tmp_path / "tls.crt"
    certificate.write_text("old")
    with supervised(tmp_path, tls={"cert": str(certificate), "key": str(certificate)}) as gateway:
        before = gateway.metrics()["postern_config_reload_timestamp_seconds"]
        certificate.write_text("renewed")
        until(lambda: gateway.metrics()["postern_config_reload_timestamp_seconds"] > before, gateway.log())


def test_tls_is_not_switched_on_or_off_under_open_sockets(gateway: Supervised, tmp_path: Path) -> None:
    redirect = {"host": "127.0.0.1", "port": gateway.port + 1}
    gateway.write(hash="two", tls={"cert": "a", "key": "b", "redirect_http": redirect})
    status, body = gateway.admin("/reload", "POST")
    assert (status, json.loads(body)["needs_restart"]) == (200, ["tls", "tls.redirect_http"])
    assert json.loads(gateway.admin("/config")[1])["tls"] is None


def test_a_configmap_symlink_swap_is_seen(tmp_path: Path) -> None:
    """Kubernetes: routes.json -> ..data/routes.json, ..data -> ..version; only ..data is replaced."""
    with supervised_in_configmap(tmp_path) as gateway:
        snapshot = gateway.snapshot | {"hash": "two"}
        (tmp_path / "..v2").mkdir()
        (tmp_path / "..v2/routes.json").write_text(json.dumps(snapshot))
        os.symlink("..v2", tmp_path / "..data_tmp")
        os.rename(tmp_path / "..data_tmp", tmp_path / "..data")
        until(lambda: gateway.ask()[2] == "two", gateway.log())


class supervised_in_configmap:
    def __init__(self, folder: Path) -> None:
        self.gateway = Supervised(folder)
        (folder / "..v1").mkdir()
        self.gateway.routes.rename(folder / "..v1/routes.json")
        os.symlink("..v1", folder / "..data")
        os.symlink("..data/routes.json", self.gateway.routes)

    def __enter__(self) -> Supervised:
        self.gateway.start()
        self.gateway.until_ready()
        return self.gateway

    def __exit__(self, *exception: object) -> None:
        self.gateway.kill()


def test_a_bad_file_changes_nothing_and_is_told(gateway: Supervised) -> None:
    gateway.routes.write_text('{"hash": 2}')
    status, body = gateway.admin("/reload", "POST")
    answer = json.loads(body)
    assert status == 422 and not answer["loaded"] and answer["config"] == "one"
    assert "Expected `str`" in answer["faults"][0]
    assert gateway.ask_all() == {"0": "one", "1": "one"}
    assert gateway.metrics()["postern_config_reload_success"] == 0
    assert "Expected `str`" in gateway.log()
    gateway.write(hash="two")
    in_force(gateway, "two")
    until(lambda: gateway.metrics()["postern_config_reload_success"] == 1)


def test_what_a_worker_refuses_is_in_force_nowhere(gateway: Supervised) -> None:
    """Worker 0 had it already when worker 1 refused it."""
    gateway.write(hash="two", service="refused-by-1")
    status, body = gateway.admin("/reload", "POST")
    assert status == 422 and json.loads(body)["faults"] == ["the certificate can't be read"]
    in_force(gateway, "one")
    assert gateway.metrics()["postern_config_reload_success"] == 0


def test_what_kills_a_worker_is_in_force_nowhere(gateway: Supervised) -> None:
    gateway.write(hash="two", service="deadly-for-1")
    status, body = gateway.admin("/reload", "POST")
    assert status == 422
    assert json.loads(body)["faults"] == ["worker 1 ended while it loaded the configuration"]
    in_force(gateway, "one")


def test_a_worker_started_later_has_the_latest_good_one(gateway: Supervised) -> None:
    gateway.write(hash="two")
    assert gateway.admin("/reload", "POST")[0] == 200
    gateway.routes.write_text("bad")
    assert gateway.admin("/reload", "POST")[0] == 422
    before = gateway.pids()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    in_force(gateway, "two")
    assert not set(before) & set(gateway.pids())


def test_what_needs_a_restart_is_named_and_left(gateway: Supervised) -> None:
    old = gateway.port
    listen = [{"host": "127.0.0.1", "port": old + 1}]
    admin = {"host": "127.0.0.1", "port": gateway.admin_port + 1}
    gateway.write(hash="two", listen=listen, admin=admin, workers=3)
    status, body = gateway.admin("/reload", "POST")
    assert status == 200
    assert json.loads(body)["needs_restart"] == ["listen", "admin", "workers"]
    in_force(gateway, "two")
    shown = json.loads(gateway.admin("/config")[1])
    assert (shown["listen"][0]["port"], shown["workers"]) == (old, 2)
    assert any("`listen`, `admin`, `workers` changed" in line for line in gateway.messages())


def test_reloads_asked_for_together_all_get_an_answer(gateway: Supervised) -> None:
    gateway.write(hash="two")
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: gateway.admin("/reload", "POST"), range(6), timeout=PATIENCE))
    assert {status for status, _ in answers} == {200}
    assert {json.loads(body)["config"] for _, body in answers} == {"two"}
