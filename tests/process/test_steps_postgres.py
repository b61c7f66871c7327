"""Steps that several hosts share, with a real PostgreSQL: every "host" here has a state directory of its own."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from postgres import postgres_server
from service import Service

from fairlead.steps.database import lock_number

APP = "async def app(scope, receive, send): ...\n"


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with postgres_server() as address:
        yield address


@pytest.fixture
def shop(service: Service, database: str) -> Service:
    service.write(APP)
    service.configure(f"""
        [app]
        target = "main:app"
        name = "{service.folder.name}"
        [[steps]]
        name = "migrate"
        run = ["sh", "-c", "echo x >> ran; sleep 0.3"]
        lock = "{database}"
        """)
    return service


def run_on_host(service: Service, host: int) -> "subprocess.Popen[str]":
    environment = service.environment() | {"FAIRLEAD_STATE_DIR": str(service.folder / f"host{host}")}
    command = [sys.executable, "-m", "fairlead.cli.main", "steps", "run"]
    return subprocess.Popen(
        command, cwd=service.folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def lines(folder: Path) -> int:
    return len((folder / "ran").read_text().split())


def test_hosts_that_share_a_database_run_a_step_once_together(shop: Service) -> None:
    hosts = [run_on_host(shop, number) for number in range(4)]
    said = [host.communicate(timeout=60) for host in hosts]
    assert sorted(out for out, _err in said) == ["nothing is due\n"] * 3 + ["ran migrate\n"], said
    assert lines(shop.folder) == 1
    shop.write(APP + "# new\n")
    assert run_on_host(shop, 9).communicate(timeout=60)[0] == "ran migrate\n"
    assert lines(shop.folder) == 2


def steps_as_seen_by_host(service: Service, host: int) -> tuple[dict[str, Any], str]:
    environment = service.environment() | {"FAIRLEAD_STATE_DIR": str(service.folder / f"host{host}"), "COLUMNS": "160"}
    command = [sys.executable, "-m", "fairlead.cli.main", "steps"]
    shown, listed = (
        subprocess.run(
            [*command, *more], cwd=service.folder, env=environment, text=True, capture_output=True, timeout=60
        )
        for more in ((), ("--json",))
    )
    [step] = json.loads(listed.stdout)
    return step, shown.stdout + shown.stderr


def test_steps_shows_what_other_hosts_have_run(shop: Service) -> None:
    step, shown = steps_as_seen_by_host(shop, 1)
    assert step["due"] is True
    assert "never, on any host" in shown
    assert run_on_host(shop, 2).communicate(timeout=60)[0] == "ran migrate\n"
    for host, note in ((1, "on another host"), (2, "for 0.")):
        step, shown = steps_as_seen_by_host(shop, host)
        assert (step["due"], step["problem"]) == (False, "")
        assert step["last_ran"]
        assert note in shown


def test_steps_says_that_it_cannot_tell_without_the_database(service: Service) -> None:
    unreachable(service)
    step, shown = steps_as_seen_by_host(service, 1)
    assert (step["due"], step["last_ran"]) == (None, None)
    assert "unknown" in shown
    assert "warning: cannot ask PostgreSQL: " in shown
    assert "secret" not in shown
    answer = service.command("steps", "run", "--plan")
    assert answer.returncode == 1
    assert answer.stderr.startswith("error: cannot say what is due: cannot ask PostgreSQL: ")
    [found] = [
        one for one in json.loads(service.command("check", "--json").stdout)["concepts"] if "steps" in one["concept"]
    ]
    assert found["missing"].startswith("cannot ask PostgreSQL: ")


def test_step_waits_while_another_host_holds_the_lock_and_goes_on_when_that_host_dies(
    shop: Service, database: str
) -> None:
    holder = run_on_host(shop, 1)
    assert holder.wait(60) == 0
    holder.communicate()
    with psycopg.connect(database, autocommit=True) as watcher:
        shop.write(APP + "# newer\n")
        with psycopg.connect(database, autocommit=True) as other:
            other.execute("SELECT pg_advisory_lock(%s)", (lock_number(shop.folder.name),))
            waiting = run_on_host(shop, 2)
            shop.wait_until(lambda: waiters(watcher) == 1, "the step waits for the lock")
            assert lines(shop.folder) == 1
        assert waiting.communicate(timeout=60)[0] == "ran migrate\n"
    assert lines(shop.folder) == 2


def test_step_is_stopped_when_its_lock_is_lost_for_another_host_may_start_it(shop: Service, database: str) -> None:
    shop.configure(f"""
        [app]
        target = "main:app"
        name = "{shop.folder.name}"
        [[steps]]
        name = "migrate"
        run = ["sh", "-c", "echo x >> ran; exec sleep 600"]
        retries = 3
        lock = "{database}"
        """)
    host = run_on_host(shop, 1)
    shop.wait_until((shop.folder / "ran").exists, "the step runs")
    with psycopg.connect(database, autocommit=True) as other:
        name = f"fairlead steps {shop.folder.name}"
        other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s", (name,))
    said = host.communicate(timeout=60)[1]
    assert "error: step migrate failed: its lock in PostgreSQL was lost" in said
    assert lines(shop.folder) == 1  # not tried again


def test_role_that_may_not_make_tables_and_has_a_short_patience_uses_what_was_made_for_it(
    shop: Service, database: str
) -> None:
    assert run_on_host(shop, 1).communicate(timeout=60)[0] == "ran migrate\n"
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute("CREATE ROLE deployer LOGIN")
        admin.execute("ALTER ROLE deployer SET statement_timeout = '100ms'")
        if admin.info.server_version >= 140000:
            admin.execute("ALTER ROLE deployer SET idle_session_timeout = '100ms'")
        admin.execute("GRANT SELECT, INSERT, UPDATE ON fairlead_steps TO deployer")
        config = (shop.folder / "fairlead.toml").read_text()
        shop.write(config.replace("tester@", "deployer@"), "fairlead.toml")
        shop.write(APP + "# newest\n")
        admin.execute("SELECT pg_advisory_lock(%s)", (lock_number(shop.folder.name),))
        host = run_on_host(shop, 2)
        shop.wait_until(lambda: waiters(admin) == 1, "it waits for the lock")
        began = admin.execute("SELECT clock_timestamp()").fetchone()
        shop.wait_until(
            lambda: (
                admin.execute("SELECT clock_timestamp() > %s::timestamptz + interval '300ms'", began).fetchone()
                == (True,)
            ),
            "it has waited for longer than its role's timeout",
        )
        admin.execute("SELECT pg_advisory_unlock_all()")
        assert host.communicate(timeout=60)[0] == "ran migrate\n"


def waiters(connection: "psycopg.Connection[tuple[int]]") -> int:
    found = connection.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").fetchone()
    assert found is not None
    return found[0]


def unreachable(service: Service) -> None:
    service.write(APP)
    service.configure("""
        [app]
        target = "main:app"
        [[steps]]
        name = "migrate"
        run = "touch ran"
        lock = "postgresql://shop:secret@127.0.0.1:1/shop"
        """)


def test_database_that_cannot_be_reached_is_one_clear_error(service: Service) -> None:
    unreachable(service)
    answer = service.command("steps", "run")
    assert answer.returncode == 1
    assert answer.stderr.startswith("error: cannot lock step migrate in PostgreSQL: ")
    assert len(answer.stderr.splitlines()) == 1
    assert "secret" not in answer.stderr
    assert not (service.folder / "ran").exists()
