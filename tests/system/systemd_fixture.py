"""A machine that really boots systemd: systemd-nspawn over this host's own root, with all changes in a folder of the test.

It boots in under a second; killing its first process is a power cut. /tmp of the host is hidden in it, so the app and its
Python are put under /opt: Debian's Python when it is of the version that runs the tests, else that one itself, with the
packages of the environment that runs the tests.
"""

import compileall
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from system_python import SYSTEM_PYTHON, VERSION, debians_python_will_do

import fairlead

OWN_PYTHON = "/opt/python"
APP = """
    import os
    from fastapi import FastAPI

    app = FastAPI()
    VERSION = "one"

    @app.get("/")
    def root():
        return {"pid": os.getpid(), "version": VERSION, "uid": os.getuid()}
"""


def _why_not() -> str | None:
    """Why no machine can be booted here; None when one can."""
    if os.geteuid() != 0:
        return "only root can boot a machine"
    if shutil.which("systemd-nspawn") is None or not Path("/sbin/init").exists():
        return "the Debian packages systemd-container and systemd-sysv are not installed"
    return None


needs_machine = pytest.mark.skipif(_why_not() is not None, reason=str(_why_not()))


# What other tests have installed on this host, and what nobody needs here.
_OTHERS = [
    f"{name}.service"
    for name in ("docker", "containerd", "supervisor", "nginx", "caddy", "haproxy", "named", "postgresql")
]
_OTHERS.append("docker.socket")


class Machine:
    """`folder`: where the machine's changes to the root are kept; they outlive its power."""

    def __init__(self, folder: Path) -> None:
        self.upper = folder / "upper"
        self.work = folder / "work"
        self.root = folder / "root"
        for made in (self.upper, self.work, self.root):
            made.mkdir()
        self.group = f"fairlead-test-{os.getpid()}"
        self.process: subprocess.Popen[bytes] | None = None
        self.leader = 0
        self.binds = [f"--bind-ro={sysconfig.get_path('purelib')}:/opt/packages"]
        self._put_source(Path(fairlead.__file__).parent)
        self.python = str(SYSTEM_PYTHON)
        if not debians_python_will_do():
            self.python = f"{OWN_PYTHON}/bin/python{VERSION}"
            self.binds.append(f"--bind-ro={sys.base_prefix}:{OWN_PYTHON}")
        for unit in _OTHERS:
            self._mask(unit)

    def _put_source(self, source: Path) -> None:
        """Fairlead as pip would have installed it: with bytecode, which a service could not write itself."""
        place = self.upper / "opt/source/fairlead"
        shutil.copytree(source, place, ignore=shutil.ignore_patterns("__pycache__"))
        assert compileall.compile_dir(place, quiet=1, stripdir=self.upper, prependdir="/")

    def _mask(self, unit: str) -> None:
        path = self.upper / "etc/systemd/system" / unit
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to("/dev/null")

    # files

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Writes a file of the machine, running or not."""
        place = Path(f"/proc/{self.leader}/root{path}") if self.leader else self.upper / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(textwrap.dedent(text))
        place.chmod(mode)
        stamp = time.time_ns()
        os.utime(place, ns=(stamp, stamp))

    def exists(self, path: str) -> bool:
        return os.path.lexists(f"/proc/{self.leader}/root{path}")

    # power

    def boot(self) -> "Machine":
        """Switches it on and waits until systemd has done everything."""
        mount = f"mount -t overlay overlay -o lowerdir=/,upperdir={self.upper},workdir={self.work} {self.root}"
        nspawn = ["systemd-nspawn", "--quiet", "--boot", f"--directory={self.root}", "--register=no", "--keep-unit"]
        nspawn += ["--private-network", "--console=pipe", "--settings=no", "--kill-signal=SIGRTMIN+3"]
        nspawn += ["--private-users=identity", "--link-journal=no", *self.binds]
        self.process = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", f'{mount} && exec "$@"', "sh", *nspawn],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            preexec_fn=self._enter_groups,
        )
        self._wait(self._find_leader, "the machine's first process")
        self._wait(
            lambda: self.systemctl("is-system-running").stdout.strip() in ("running", "degraded"), "a booted system"
        )
        if self.python != str(SYSTEM_PYTHON):
            # Where it was built its library is closed to services; the loader's cache, unlike a variable, is for all.
            self.write("/etc/ld.so.conf.d/own-python.conf", f"{OWN_PYTHON}/lib\n")
            assert self.run("ldconfig").returncode == 0
        return self

    def _enter_groups(self) -> None:
        """A control group of its own in each hierarchy, as far as this host lets us."""
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            fields = line.split(" ")
            if fields[fields.index("-", 6) + 1] in ("cgroup", "cgroup2"):
                with contextlib.suppress(OSError):
                    folder = Path(fields[4]) / self.group
                    folder.mkdir(exist_ok=True)
                    (folder / "cgroup.procs").write_text(str(os.getpid()))

    def _find_leader(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            assert self.process.stderr is not None
            raise AssertionError(f"the machine did not boot: {self.process.stderr.read().decode()}")
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for child in children:
            with contextlib.suppress(OSError):
                if Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                    self.leader = int(child)
                    return True
        return False

    def power_cut(self) -> None:
        """Everything in it is dead at once."""
        os.kill(self.leader, signal.SIGKILL)
        self._gone()

    def power_off(self) -> None:
        """Shuts down as a machine does."""
        self.systemctl("poweroff")
        self._gone()

    def _gone(self) -> None:
        assert self.process is not None
        self.process.wait(60)
        assert self.process.stderr is not None
        self.process.stderr.close()
        self.process, self.leader = None, 0

    def close(self) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.leader or self.process.pid, signal.SIGKILL)
            self._gone()
        for hierarchy in [Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").iterdir()]:
            group = hierarchy / self.group
            for folder in sorted(group.rglob("*/"), reverse=True) if group.is_dir() else []:
                with contextlib.suppress(OSError):
                    folder.rmdir()
            with contextlib.suppress(OSError):
                group.rmdir()

    # commands

    def run(self, *command: str, cwd: str = "/", timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """A command in the machine, as its root."""
        enter = ["nsenter", "-t", str(self.leader), "--all", "--"]
        clean = [
            "env",
            "-i",
            f"--chdir={cwd}",
            "PATH=/opt/shop/venv/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME=/root",
            "LANG=C.UTF-8",
        ]
        return subprocess.run(
            [*enter, *clean, *command], capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL
        )

    def systemctl(self, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        return self.run("systemctl", *arguments, timeout=timeout)

    def shown(self, unit: str, key: str) -> str:
        return self.systemctl("show", unit, "--value", "--property", key).stdout.strip()

    def fairlead(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A `fairlead …` command of the machine's root, in the app's folder."""
        return self.run("fairlead", *arguments, cwd="/opt/shop")

    def in_network(self, script: str, *arguments: str) -> subprocess.Popen[str]:
        """Starts a Python script of the host in the machine's network."""
        command = ["nsenter", "-t", str(self.leader), "--net", "--", sys.executable, "-c", textwrap.dedent(script)]
        return subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def get(self, path: str = "/", port: int = 8000) -> str:
        """The body of one request; empty when nobody answers."""
        script = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=20).read().decode())"
        with self.in_network(script, f"http://127.0.0.1:{port}{path}") as client:
            return client.communicate(timeout=30)[0].strip()

    def _wait(self, condition: Callable[[], object], what: str, timeout: float = 120) -> None:
        end = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < end, f"not within {timeout} s: {what}"
            time.sleep(0.05)

    wait_until = _wait


@contextlib.contextmanager
def machine_in(folder: Path) -> Iterator[Machine]:
    """A machine with the app and Fairlead under /opt/shop, switched off; gone afterwards."""
    machine = Machine(folder)
    lib = f"/opt/shop/venv/lib/python{VERSION}/site-packages"
    machine.write(f"{lib}/tests.pth", "/opt/source\n/opt/packages\n")
    machine.write(
        "/opt/shop/venv/pyvenv.cfg", f"home = {Path(machine.python).parent}\ninclude-system-site-packages = false\n"
    )
    script = "#!/opt/shop/venv/bin/python3\nimport sys\nfrom fairlead.cli.main import main\nsys.exit(main())\n"
    machine.write("/opt/shop/venv/bin/fairlead", script, 0o755)
    (machine.upper / "opt/shop/venv/bin/python3").symlink_to(machine.python)
    machine.write("/opt/shop/main.py", APP)
    machine.write("/opt/shop/fairlead.toml", '[app]\nname = "shop"\n[replication]\nworkers = 2\n')
    try:
        yield machine
    finally:
        machine.close()
