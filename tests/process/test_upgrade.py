"""`fairlead upgrade`: another program takes the supervisor's place, and nobody notices."""

import asyncio
import os
import shutil
import signal
from pathlib import Path

import pytest
from service import PLAIN_APP, Service, alive
from test_nothing_lost import APP as LOADED_APP
from test_nothing_lost import CONFIGURATION, run_load

import fairlead
from fairlead.testing.load_client import LoadClient


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that comes before the installed packages: what is put there is the program that is installed now."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return folder


def install(programs: Path, version: str) -> None:
    """Another version of Fairlead."""
    shutil.copytree(Path(fairlead.__file__).parent, programs / "fairlead", ignore=shutil.ignore_patterns("__pycache__"))
    init = programs / "fairlead" / "__init__.py"
    init.write_text(init.read_text().replace(fairlead.__version__, version))


def test_upgrade_keeps_pids_sockets_and_all_that_is_known(service: Service, programs: Path) -> None:
    service.start("--workers", "2")
    before = service.status()
    restarted = service.serving()[0]["pid"]
    os.kill(restarted, signal.SIGKILL)
    service.wait_until(lambda: restarted not in {w["pid"] for w in service.serving()}, "a replacement")
    service.wait_until(lambda: len(service.serving()) == 2, "two workers")
    workers = {worker["pid"] for worker in service.serving()}
    install(programs, "9.9.9")

    done = service.command("upgrade")
    assert done.returncode == 0, done.stderr
    assert "the supervisor is Fairlead 9.9.9 now (before: " in done.stdout
    after = service.status()
    assert (after["version"], before["version"]) == ("9.9.9", fairlead.__version__)
    assert (after["pid"], after["listeners"], after["release"]) == (
        before["pid"],
        before["listeners"],
        before["release"],
    )
    assert {worker["pid"] for worker in after["workers"]} == workers
    assert after["restarts_total"] == 1
    assert after["uptime"] > before["uptime"]
    assert service.get()["pid"] in workers


def test_service_is_looked_after_as_before_once_upgraded(service: Service) -> None:
    service.start("--workers", "2")
    assert (answer := service.ask("upgrade"))["ok"], answer
    # A crashed worker is still replaced from memory, not from the disk.
    service.write("raise ValueError('broken')\n")
    victim = service.serving()[0]["pid"]
    os.kill(victim, signal.SIGKILL)
    service.wait_until(lambda: len(service.serving()) == 2 and not alive(victim), "a replacement")
    assert service.get()["version"] == "one"
    assert not service.ask("reload")["ok"]
    service.write(PLAIN_APP.replace('"one"', '"two"'))
    assert (answer := service.ask("reload"))["ok"], answer
    assert service.get()["version"] == "two"
    assert (answer := service.ask("upgrade"))["ok"], answer
    assert (answer := service.ask("rollback"))["ok"], answer
    assert service.get()["version"] == "one"
    assert service.stop() == 0


def test_program_that_cannot_take_over_is_told_and_the_old_one_goes_on(service: Service, programs: Path) -> None:
    service.start("--workers", "1")
    workers = {worker["pid"] for worker in service.serving()}
    (programs / "fairlead").mkdir()
    (programs / "fairlead" / "__init__.py").write_text("raise RuntimeError('half installed')\n")
    answer = service.ask("upgrade")
    assert not answer["ok"]
    assert answer["error"] == (
        "cannot upgrade: the program that is installed now cannot take over: RuntimeError: half installed"
    )
    service.wait_for("upgrade.failed")
    assert {worker["pid"] for worker in service.serving()} == workers
    shutil.rmtree(programs / "fairlead")
    assert (answer := service.ask("upgrade"))["ok"], answer


def test_usr2_upgrades_and_a_stop_that_comes_with_it_is_not_lost(service: Service) -> None:
    service.start("--workers", "1")
    service.signal(signal.SIGUSR2)
    service.wait_for("upgrade.begin")
    service.signal(signal.SIGTERM)
    assert service.exit_code() == 0


def test_upgrades_in_a_row_leak_no_descriptors(service: Service) -> None:
    service.start("--workers", "2")

    def descriptors() -> int:
        return len(os.listdir(f"/proc/{service.pid}/fd"))

    assert (answer := service.ask("upgrade"))["ok"], answer
    before = descriptors()
    for _again in range(5):
        assert (answer := service.ask("upgrade"))["ok"], answer
    # The last client's connection may be there a moment longer.
    service.wait_until(lambda: descriptors() <= before, "no more descriptors than after the first")
    assert service.get()["version"] == "one"


def test_companions_and_certificates_are_looked_after_once_upgraded(service: Service, free_tcp_port: int) -> None:
    service.configure(f"""
        [https]
        mode = "internal"
        domains = ["localhost"]
        https_port = {free_tcp_port}
        http = "off"
        [[companions]]
        name = "ticker"
        run = "sleep 1000"
    """)
    service.launch("--workers", "1", bind=None)
    service.wait_for("start.done")
    service.wait_until(lambda: [c["pid"] for c in service.status()["companions"]], "the companion runs")
    service.wait_for("certificate.obtained")
    before = service.status()
    assert (answer := service.ask("upgrade"))["ok"], answer
    after = service.status()
    assert [c["pid"] for c in after["companions"]] == [c["pid"] for c in before["companions"]]
    assert after["listeners"] == before["listeners"]
    names = [certificate["names"] for certificate in before["certificates"]]
    service.wait_until(lambda: [c["names"] for c in service.status()["certificates"]] == names, "the same certificates")
    assert len(service.logged("certificate.obtained")) == 1
    ticker = after["companions"][0]["pid"]
    os.kill(ticker, signal.SIGKILL)
    service.wait_until(lambda: ticker not in [c["pid"] for c in service.status()["companions"]], "another ticker")
    assert service.stop() == 0


@pytest.mark.slow
def test_upgrades_lose_nothing(service: Service) -> None:
    service.write(LOADED_APP)
    service.configure(CONFIGURATION)
    service.start("--workers", "2", "--no-access-log")
    workers = {worker["pid"] for worker in service.serving()}

    async def act(client: LoadClient) -> None:
        for _upgrade in range(5):
            assert (await asyncio.to_thread(service.ask, "upgrade"))["ok"]
            assert await client.answered(500, timeout=60)

    tally = run_load(service, act)
    assert not tally.losses, tally.losses[:5]
    assert {worker["pid"] for worker in service.serving()} == workers
    assert not service.logged("supervisor.error")
