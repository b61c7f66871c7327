"""Fairlead as a service of a machine that really boots systemd."""

import json
import signal
import statistics
import subprocess
from collections.abc import Iterator

import pytest
from systemd_fixture import APP, Machine, machine_in, needs_machine

STARTS = 3

pytestmark = [pytest.mark.root, needs_machine]

# Connects anew for every request until it is told to stop; prints how many were answered, and every failure.
CLIENT = """
    import http.client, signal, sys
    going = True
    def stop(*_):
        global going
        going = False
    signal.signal(signal.SIGTERM, stop)
    answered, failures = 0, []
    print("begun", flush=True)
    while going:
        connection = http.client.HTTPConnection("127.0.0.1", 8000, timeout=30)
        try:
            connection.connect()
        except OSError as error:
            failures.append(f"connect: {error}")
            continue
        try:
            connection.request("GET", "/", headers={"connection": "close"})
            answered += connection.getresponse().status == 200
        except OSError as error:
            failures.append(f"request: {type(error).__name__}")
        finally:
            connection.close()
    print(answered, *failures, sep="\\n")
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with machine_in(tmp_path_factory.mktemp("machine")) as machine:
        yield machine.boot()


@pytest.fixture
def machine(made: Machine) -> Iterator[Machine]:
    """The machine with the service installed and running, as it was made."""
    if not made.leader:
        made.boot()
    made.write("/opt/shop/main.py", APP)
    installed = made.fairlead("install", "--now")
    assert installed.returncode == 0, installed.stderr + installed.stdout + journal(made)
    made.wait_until(lambda: made.shown("shop.service", "ActiveState") == "active", "the service is active")
    return made


def journal(machine: Machine) -> str:
    return machine.run("journalctl", "-b", "-u", "shop.service", "-u", "shop.socket", "--no-pager").stdout


def main_pid(machine: Machine) -> str:
    return machine.shown("shop.service", "MainPID")


def body(machine: Machine) -> dict[str, object]:
    text = machine.get()
    assert text, journal(machine)
    found: dict[str, object] = json.loads(text)
    return found


def test_install_serves_as_nobody_in_particular_and_says_so(machine: Machine) -> None:
    answer = body(machine)
    assert answer["version"] == "one"
    assert int(str(answer["uid"])) >= 61184, "a user that systemd made for the service"
    assert machine.shown("shop.service", "StatusText") == "release 1 serves with 2 workers"
    assert machine.shown("shop.service", "NRestarts") == "0"
    status = machine.fairlead("status", "--json")
    assert json.loads(status.stdout)["listeners"] == ["http://127.0.0.1:8000"], status.stderr
    assert machine.systemctl("is-enabled", "shop.service", "shop.socket").stdout.split() == ["enabled", "enabled"]


def test_install_can_be_repeated_and_changes_nothing(machine: Machine) -> None:
    before = main_pid(machine)
    again = machine.fairlead("install", "--now")
    assert again.returncode == 0
    assert "unchanged: /etc/systemd/system/shop.service" in again.stdout
    assert "runs already: shop.service" in again.stdout
    assert main_pid(machine) == before


def test_log_lines_have_their_priorities_in_the_journal(machine: Machine) -> None:
    lines = machine.run("journalctl", "-b", "-u", "shop.service", "-o", "json", "--no-pager").stdout.splitlines()
    entries = [entry for line in lines if "start.done" in str((entry := json.loads(line))["MESSAGE"])]
    assert entries
    assert {entry["PRIORITY"] for entry in entries} == {"6"}
    assert {entry["SYSLOG_IDENTIFIER"] for entry in entries} == {"shop"}
    assert entries[-1]["MESSAGE"].startswith("supervisor   start.done")


@pytest.mark.parametrize("end", [Machine.power_off, Machine.power_cut])
def test_service_is_back_after_the_machine_was_off(machine: Machine, end) -> None:
    end(machine)
    machine.boot()
    assert body(machine)["version"] == "one"


def test_nobody_is_refused_while_the_supervisor_is_killed(machine: Machine) -> None:
    before = main_pid(machine)
    with machine.in_network(CLIENT) as client:
        assert client.stdout is not None
        client.stdout.readline()
        machine.run("kill", "-KILL", before)
        machine.wait_until(lambda: main_pid(machine) not in ("0", before), "another supervisor")
        machine.wait_until(lambda: machine.shown("shop.service", "ActiveState") == "active", "it serves")
        body(machine)
        client.send_signal(signal.SIGTERM)
        answered, *failures = client.communicate(timeout=60)[0].splitlines()
    assert int(answered) > 10
    # What was being answered when the workers died with their supervisor is lost; whoever connects is not.
    assert [failure for failure in failures if failure.startswith("connect")] == []
    assert len(failures) <= 1


UVICORN_UNIT = """
    [Service]
    ExecStart=/opt/shop/venv/bin/python3 -m uvicorn main:app --host 127.0.0.1 --port 8200
    WorkingDirectory=/opt/shop
    User=nobody
"""
# Prints when the first request was answered, by the clock that systemd's time stamps are of.
FIRST_ANSWER = """
    import http.client, sys, time
    print("begun", flush=True)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=30)
        try:
            connection.request("GET", "/")
            if connection.getresponse().status == 200:
                print(time.monotonic())
                break
        except OSError:
            time.sleep(0.002)
        finally:
            connection.close()
"""


def seconds_to_first_answer(machine: Machine, port: int, *units: str) -> float:
    """From the moment systemd executes the last unit's program."""
    machine.systemctl("stop", *units)
    with machine.in_network(FIRST_ANSWER, str(port)) as client:
        assert client.stdout is not None
        client.stdout.readline()
        started = machine.systemctl("start", units[-1])
        assert started.returncode == 0, started.stderr + journal(machine)
        answered = float(client.communicate(timeout=60)[0])
    return answered - int(machine.shown(units[-1], "ExecMainStartTimestampMonotonic")) / 1e6


def test_service_answers_nearly_as_soon_as_uvicorn_alone(machine: Machine) -> None:
    machine.write("/etc/systemd/system/plain.service", UVICORN_UNIT)
    machine.systemctl("daemon-reload")
    # The first start finds the sockets, makes the plan and reads every file for the first time.
    ours, theirs = [], []
    for _ in range(STARTS):
        theirs.append(seconds_to_first_answer(machine, 8200, "plain.service"))
        ours.append(seconds_to_first_answer(machine, 8000, "shop.socket", "shop.service"))
    machine.systemctl("stop", "plain.service")
    ratio = statistics.median(our / their for our, their in zip(ours[1:], theirs[1:], strict=True))
    print(f"exec to first answer: {min(ours):.3f} s, uvicorn {min(theirs):.3f} s, median ratio {ratio:.2f}")
    # The plan of the start before was taken: nothing had to become another program.
    assert "fairlead.supervisor" not in machine.run("cat", f"/proc/{main_pid(machine)}/cmdline").stdout
    # On an idle machine it is far less: this only has to hold beside whatever else is running.
    assert min(ours) / min(theirs) < 3


def test_supervisor_that_hangs_is_replaced(machine: Machine) -> None:
    machine.write("/etc/systemd/system/shop.service.d/watchdog.conf", "[Service]\nWatchdogSec=2s\nTimeoutAbortSec=1s\n")
    machine.systemctl("daemon-reload")
    machine.systemctl("restart", "shop.service")
    before = main_pid(machine)
    machine.run("kill", "-STOP", before)
    machine.wait_until(lambda: main_pid(machine) not in ("0", before), "another supervisor")
    assert body(machine)["version"] == "one"
    assert "Watchdog timeout" in journal(machine)
    machine.run("rm", "-r", "/etc/systemd/system/shop.service.d")
    machine.systemctl("daemon-reload")


def test_reload_through_systemctl_takes_new_code_in_the_same_supervisor(machine: Machine) -> None:
    before = main_pid(machine)
    machine.write("/opt/shop/main.py", APP.replace('"one"', '"two"'))
    done = machine.systemctl("reload", "shop.service")
    assert done.returncode == 0, journal(machine)
    assert body(machine)["version"] == "two"
    assert main_pid(machine) == before


def test_failing_release_leaves_the_unit_active_and_its_status_says_why(machine: Machine) -> None:
    machine.systemctl("restart", "shop.service")
    machine.write("/opt/shop/main.py", "raise ValueError('no crane')\n")
    assert machine.systemctl("reload", "shop.service").returncode != 0
    assert machine.shown("shop.service", "ActiveState") == "active"
    status = machine.shown("shop.service", "StatusText")
    assert status.startswith("release 1 serves with 2 workers; cannot reload: ")
    assert "ValueError: no crane" in status
    assert body(machine)["version"] == "one"


def test_upgrade_of_the_supervisor_keeps_it_the_units_main_process(machine: Machine) -> None:
    machine.systemctl("restart", "shop.service")
    before = main_pid(machine)
    done = machine.fairlead("upgrade")
    assert done.returncode == 0, done.stderr
    assert main_pid(machine) == before
    assert machine.systemctl("reload", "shop.service").returncode == 0
    assert machine.shown("shop.service", "StatusText") == "release 2 serves with 2 workers"
    assert machine.shown("shop.service", "NRestarts") == "0"


def test_exposure_is_small_and_nothing_runs_as_root(machine: Machine) -> None:
    rated = machine.run("systemd-analyze", "security", "--threshold=20", "--no-pager", "shop.service")
    print(rated.stdout.splitlines()[-1])
    assert rated.returncode == 0, rated.stdout
    group = machine.shown("shop.service", "ControlGroup")
    users = machine.run("ps", "-eo", "uid,cgroup", "--no-headers").stdout.splitlines()
    uids = {line.split()[0] for line in users if line.rstrip().endswith(group)}
    assert uids
    assert "0" not in uids


NEEDY_APP = """
    import os
    from pathlib import Path
    from fastapi import FastAPI

    app = FastAPI()

    @app.get("/")
    def root():
        (Path("data") / "mark").write_text("written")
        secret = (Path(os.environ["CREDENTIALS_DIRECTORY"]) / "password").read_text()
        return {"user": os.getuid(), "secret": secret, "colour": os.environ["COLOUR"]}
"""


def test_named_user_gets_low_ports_secrets_and_what_it_may_write_without_root(machine: Machine) -> None:
    machine.run("useradd", "--system", "--uid", "888", "keeper")
    machine.write("/opt/needy/main.py", NEEDY_APP)
    machine.write(
        "/opt/needy/fairlead.toml",
        """
        [app]
        user = "keeper"
        [http]
        bind = ["127.0.0.1:81", "unix:/run/needy.sock"]
        [replication]
        workers = 1
        [startup]
        environment_file = "/etc/needy/environment"
        credentials = { password = "/etc/needy/password" }
        writable = ["data"]
        """,
    )
    machine.write("/etc/needy/environment", "COLOUR=blue\n", 0o600)
    machine.write("/etc/needy/password", "sesame", 0o600)
    machine.run("install", "--directory", "--owner=keeper", "/opt/needy/data")
    done = machine.run("fairlead", "install", "--now", cwd="/opt/needy")
    assert done.returncode == 0, done.stderr + machine.run("journalctl", "-u", "needy*", "--no-pager").stdout
    assert json.loads(machine.get(port=81)) == {"user": 888, "secret": "sesame", "colour": "blue"}
    answer = machine.run("curl", "--silent", "--unix-socket", "/run/needy.sock", "http://needy/")
    assert json.loads(answer.stdout)["user"] == 888
    assert machine.run("fairlead", "uninstall", cwd="/opt/needy").returncode == 0


def test_https_and_steps_work_in_the_sandbox_and_their_state_outlives_the_service(machine: Machine) -> None:
    machine.write("/opt/secure/main.py", APP)
    machine.write(
        "/opt/secure/fairlead.toml",
        """
        [http]
        host = "127.0.0.1"
        [https]
        mode = "internal"
        domains = ["localhost"]
        https_port = 4443
        http_port = 4480
        [replication]
        workers = 1
        [[steps]]
        name = "count"
        run = ["sh", "-c", "echo once >> $STATE_DIRECTORY/count"]
        """,
    )
    done = machine.run("fairlead", "install", "--now", cwd="/opt/secure")
    assert done.returncode == 0, done.stderr + machine.run("journalctl", "-u", "secure*", "--no-pager").stdout
    ask = ["curl", "--silent", "--insecure", "--retry", "20", "--retry-all-errors", "--retry-delay", "1"]
    assert json.loads(machine.run(*ask, "https://localhost:4443/").stdout)["version"] == "one"
    machine.systemctl("restart", "secure.service")
    assert json.loads(machine.run(*ask, "https://localhost:4443/").stdout)["version"] == "one"
    assert machine.run("cat", "/var/lib/private/secure/count").stdout == "once\n"
    gone = machine.run("fairlead", "uninstall", cwd="/opt/secure")
    assert "left in place: /var/lib/private/secure" in gone.stdout


def test_user_without_root_has_a_service_of_their_own(machine: Machine) -> None:
    machine.run("useradd", "--create-home", "--uid", "1234", "ann")
    machine.write("/home/ann/app/main.py", APP)
    machine.write(
        "/home/ann/app/fairlead.toml", '[app]\nname = "anns"\n[http]\nport = 8100\n[replication]\nworkers = 1\n'
    )
    machine.run("loginctl", "enable-linger", "ann")
    machine.wait_until(lambda: machine.shown("user@1234.service", "ActiveState") == "active", "ann's own manager")

    def as_ann(*command: str) -> subprocess.CompletedProcess[str]:
        become = ["setpriv", "--reuid=1234", "--regid=1234", "--clear-groups"]
        own = ["env", "HOME=/home/ann", "XDG_RUNTIME_DIR=/run/user/1234"]
        return machine.run(*become, *own, *command, cwd="/home/ann/app")

    done = as_ann("fairlead", "install", "--user-unit", "--now")
    assert done.returncode == 0, done.stderr + as_ann("journalctl", "--user", "--no-pager").stdout
    assert "while you are logged in" not in done.stderr
    assert json.loads(machine.get(port=8100))["uid"] == 1234
    assert json.loads(as_ann("fairlead", "status", "--json").stdout)["name"] == "anns"
    gone = as_ann("fairlead", "uninstall", "--user-unit")
    assert gone.returncode == 0, gone.stderr
    assert not machine.exists("/home/ann/.config/systemd/user/anns.service")
    assert "left in place: /home/ann/" in gone.stdout


def test_socket_that_systemd_did_not_open_is_kept_by_it_all_the_same(machine: Machine) -> None:
    """A reload added a port: systemd holds a copy of it, so it stays open when the supervisor is killed."""
    machine.systemctl("restart", "shop.service")
    toml = '[app]\nname = "shop"\n[replication]\nworkers = 2\n'
    machine.write("/opt/shop/fairlead.toml", toml + '[http]\nbind = ["127.0.0.1:8000", "127.0.0.1:8001"]\n')
    assert machine.systemctl("reload", "shop.service").returncode == 0, journal(machine)
    assert machine.shown("shop.service", "NFileDescriptorStore") == "1"
    before = main_pid(machine)
    machine.run("kill", "-KILL", before)
    machine.wait_until(lambda: main_pid(machine) not in ("0", before), "another supervisor")
    assert json.loads(machine.get(port=8001))["version"] == "one"
    assert "listeners.unused" not in journal(machine)
    machine.write("/opt/shop/fairlead.toml", toml)
    assert machine.systemctl("reload", "shop.service").returncode == 0, journal(machine)
    machine.wait_until(lambda: machine.shown("shop.service", "NFileDescriptorStore") == "0", "the copy is let go")


def test_what_cannot_be_installed_is_told_before_anything_is_written(machine: Machine) -> None:
    before = machine.run("ls", "-R", "/etc/systemd/system").stdout
    machine.write("/root/other/fairlead.toml", '[app]\ntarget = "/opt/shop/main.py"\n')
    machine.write("/var/lib/warehouse/stock", "not ours\n")
    machine.write("/opt/taken/main.py", APP)
    machine.write("/opt/taken/fairlead.toml", "[http]\nport = 8000\n")
    machine.write("/opt/nowhere/main.py", APP)
    machine.write("/opt/nowhere/fairlead.toml", '[http]\nhost = "192.0.2.1"\n')
    machine.write("/opt/secret/main.py", APP)
    machine.write("/opt/secret/fairlead.toml", '[startup]\nenvironment_file = "/etc/secret"\n')
    machine.run("groupadd", "packers")
    for folder, arguments, cause in [
        ("shop", ("--name", "dbus"), "/dbus.service has that name"),
        ("shop", ("--name", "other", "--user", "nemo"), "there is no such user"),
        (
            "shop",
            ("--name", "other", "--config", "/root/other/fairlead.toml"),
            "the service's own user may not enter /root",
        ),
        ("shop", ("--name", "root"), "there is a user root on this host"),
        ("shop", ("--name", "daemon"), "or --user daemon if it is meant"),
        ("shop", ("--name", "packers"), "there is a group packers on this host"),
        ("shop", ("--name", "warehouse"), "/var/lib/warehouse is not of this service"),
        ("shop", ("--name", "warehouse", "--user", "daemon"), "/var/lib/warehouse is not of this service"),
        ("shop", ("--name", "fairlead"), "/var/lib/fairlead is where Fairlead itself keeps"),
        ("taken", ("--now",), "cannot listen on 127.0.0.1:8000: "),
        ("nowhere", ("--now",), "cannot listen on 192.0.2.1:8000: this machine has no such address"),
        ("secret", (), "startup.environment_file = '/etc/secret' cannot be read: No such file or directory"),
        ("taken", ("--name", "shop"), "it belongs to the app in another folder"),
    ]:
        done = machine.run("fairlead", "install", *arguments, cwd=f"/opt/{folder}")
        assert done.returncode != 0, arguments
        assert cause in done.stderr.replace("\n", " ")
        assert done.stderr.startswith("error: cannot ") or "\nerror: cannot " in done.stderr
    assert machine.run("ls", "-R", "/etc/systemd/system").stdout == before
    nobody = machine.run("setpriv", "--reuid=65534", "--clear-groups", "fairlead", "install", cwd="/opt/shop")
    assert (nobody.returncode, "only root" in nobody.stderr) == (2, True)


def test_running_service_is_not_ended_for_a_place_that_is_taken(machine: Machine) -> None:
    toml = '[app]\nname = "shop"\n[replication]\nworkers = 2\n'
    listen = "import socket, time; s = socket.create_server(('127.0.0.1', 8009)); print('begun', flush=True); time.sleep(600)"
    machine.write("/opt/shop/fairlead.toml", toml + '[http]\nbind = ["127.0.0.1:8000", "127.0.0.1:8009"]\n')
    with machine.in_network(listen) as other:
        assert other.stdout is not None
        other.stdout.readline()
        refused = machine.fairlead("install", "--now")
        other.kill()
    assert (refused.returncode, "cannot listen on 127.0.0.1:8009: " in refused.stderr) == (2, True)
    assert body(machine)["version"] == "one"
    done = machine.fairlead("install", "--now")
    assert "restarted: shop.service" in done.stdout, done.stderr
    assert json.loads(machine.get(port=8009))["version"] == "one"
    machine.write("/opt/shop/fairlead.toml", toml + '[http]\nbind = ["localhost:8000", "localhost:8009"]\n')
    done = machine.fairlead("install", "--now")
    assert (done.returncode, done.stderr.count("error")) == (0, 0), "another name for the same place"
    machine.write("/opt/shop/fairlead.toml", toml)


def test_service_of_another_folder_is_taken_away_only_by_its_name(machine: Machine) -> None:
    machine.write("/opt/copies/shop/main.py", APP)
    done = machine.run("fairlead", "uninstall", cwd="/opt/copies/shop")
    assert (done.returncode, "it belongs to the app in another folder" in done.stderr) == (1, True)
    assert body(machine)["version"] == "one"


def test_place_that_is_taken_is_tried_until_it_is_free(machine: Machine) -> None:
    """As after a power cut, when something else came first."""
    machine.systemctl("stop", "shop.socket")
    listen = "import socket, time; s = socket.create_server(('127.0.0.1', 8000)); print('begun', flush=True); time.sleep(600)"
    with machine.in_network(listen) as other:
        assert other.stdout is not None
        other.stdout.readline()
        done = machine.systemctl("start", "shop.service")
        other.kill()
    assert done.returncode != 0
    machine.wait_until(lambda: machine.shown("shop.service", "ActiveState") == "active", "the service is active")
    assert machine.shown("shop.socket", "ActiveState") == "active", "systemd holds the socket again"
    assert body(machine)["version"] == "one"


def test_address_may_come_after_the_socket(machine: Machine) -> None:
    """As at boot, when the network is up late."""
    machine.write("/opt/late/main.py", APP)
    machine.write("/opt/late/fairlead.toml", '[http]\nhost = "192.0.2.7"\nport = 8107\n[replication]\nworkers = 1\n')
    assert machine.run("fairlead", "install", cwd="/opt/late").returncode == 0
    started = machine.systemctl("start", "late.service")
    assert started.returncode == 0, machine.run("journalctl", "-u", "late*", "--no-pager").stdout
    machine.run("ip", "address", "add", "192.0.2.7/32", "dev", "lo")
    answer = machine.run("curl", "--silent", "http://192.0.2.7:8107/")
    assert json.loads(answer.stdout)["version"] == "one"
    assert machine.run("fairlead", "uninstall", cwd="/opt/late").returncode == 0


def test_check_names_the_unit_and_what_it_says_mends_it(machine: Machine) -> None:
    def startup() -> dict[str, str]:
        done = machine.fairlead("check", "--json")
        assert done.stdout, done.stderr
        [found] = [one for one in json.loads(done.stdout)["concepts"] if one["concept"] == "Running on startup"]
        return {key: found[key] for key in ("who", "state", "missing", "mend")}

    good = {"who": "systemd", "state": "shop.service is enabled", "missing": "", "mend": ""}
    assert startup() == good
    assert machine.systemctl("disable", "shop.service").returncode == 0
    found = startup()
    assert (found["missing"], found["mend"]) == ("it is not enabled", "systemctl enable --now shop.service")
    mended = machine.run(*found["mend"].split())
    assert mended.returncode == 0, mended.stderr
    assert startup() == good
    assert machine.systemctl("disable", "shop.service").returncode == 0
    assert machine.systemctl("enable", "--runtime", "shop.service").returncode == 0
    assert startup()["missing"] == "it is not enabled", "after the next start of the machine it would be gone"
    assert machine.systemctl("disable", "--runtime", "shop.service").returncode == 0
    assert machine.fairlead("uninstall").returncode == 0
    found = startup()
    assert (found["missing"], found["mend"]) == ("the unit shop.service", "fairlead install")
    mended = machine.run(*found["mend"].split(), cwd="/opt/shop")
    assert mended.returncode == 0, mended.stderr
    assert startup() == good


def test_uninstall_leaves_only_the_state_and_says_where_it_is(machine: Machine) -> None:
    done = machine.fairlead("uninstall")
    assert done.returncode == 0, done.stderr
    assert "left in place: /var/lib/private/shop" in done.stdout
    assert not machine.exists("/etc/systemd/system/shop.service")
    assert not machine.exists("/etc/systemd/system/shop.socket")
    assert not machine.exists("/run/fairlead/shop")
    assert machine.shown("shop.service", "LoadState") == "not-found"
    assert machine.get() == ""
    assert machine.fairlead("uninstall").stdout.startswith("nothing to do: shop.service is not in")
