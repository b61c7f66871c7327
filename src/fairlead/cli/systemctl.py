"""systemd as the commands use it: its folders, its tools, and its answers as errors that say what to do."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from fairlead.errors import FairleadError, InputError
from fairlead.lean_dataclass import dataclass
from fairlead.targets.model import File

_QUICK = 60.0


@dataclass(frozen=True, slots=True)
class Systemd:
    """The system's manager, or (`personal`) the one of this user."""

    personal: bool

    @property
    def folder(self) -> Path:
        """Where its administrator's units are."""
        if not self.personal:
            return Path("/etc/systemd/system")
        return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd/user"

    @property
    def states(self) -> Path:
        """Where the services' state folders are. For a user's services the answer changed with systemd 254."""
        if not self.personal:
            return Path("/var/lib")
        config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
        state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state")
        return state if self.version() >= 254 else config

    def version(self) -> int:
        """systemd's version, such as 252; 0 when it does not say."""
        words = self.systemctl("--version").stdout.split()
        return int(words[1]) if len(words) > 1 and words[1].isdecimal() else 0

    def systemctl(self, *arguments: str, timeout: float = _QUICK) -> subprocess.CompletedProcess[str]:
        """Runs systemctl; FairleadError when it does not come back."""
        return _run(["systemctl", *(["--user"] if self.personal else []), *arguments], timeout)

    def order(self, *arguments: str, timeout: float = _QUICK) -> None:
        """Runs systemctl, which must succeed."""
        done = self.systemctl(*arguments, timeout=timeout)
        if done.returncode != 0:
            raise FairleadError(
                f"cannot run systemctl {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}"
            )

    def shown(self, unit: str, key: str) -> str:
        """A property of a unit; empty when it has none."""
        return self.systemctl("show", unit, "--value", "--property", key).stdout.strip()

    def last_error(self, unit: str) -> str:
        """What the journal says of the unit's last failure; empty when it says nothing, or not to us."""
        if shutil.which("journalctl") is None:
            return ""
        whose = ["--user-unit" if self.personal else "--unit", unit]
        said = _run(["journalctl", *whose, "--output=cat", "--lines=50", "--no-pager"], _QUICK).stdout.splitlines()
        for begin in ("error: ", f"{unit}: Failed to create listening socket", f"{unit}: Failed to "):
            if told := [line for line in said if line.startswith(begin)]:
                return told[-1].removeprefix("error: ")
        return ""

    def verify(self, files: list[File]) -> None:
        """FairleadError when systemd finds something wrong with the units; nothing is installed by this."""
        names = [file.path for file in files]
        with tempfile.TemporaryDirectory(prefix="fairlead-units-") as folder:
            for file in files:
                (Path(folder) / file.path).write_text(file.marked, encoding="utf-8")
            paths = [str(Path(folder) / name) for name in names]
            done = _run(["systemd-analyze", "verify", *(["--user"] if self.personal else []), *paths], _QUICK)
        # It exits with 0 on keys that it does not know, and complains of other units than ours as well.
        found = [line for line in done.stderr.splitlines() if any(name in line for name in names)]
        if found:
            raise FairleadError("cannot use the units: systemd-analyze verify says:\n  " + "\n  ".join(found))


def find_systemd(*, personal: bool) -> Systemd:
    """The manager that is meant. InputError when there is none, or we may not give it orders."""
    if shutil.which("systemctl") is None or not Path("/run/systemd/system").is_dir():
        raise InputError("cannot install: systemd does not run this machine; `fairlead export` writes files for others")
    if not personal and os.geteuid() != 0:
        raise InputError("cannot install: only root can add a service to the system; allowed: sudo, or --user-unit")
    manager = Systemd(personal)
    if personal:
        answer = manager.systemctl("show-environment")
        if answer.returncode != 0:
            raise InputError(
                f"cannot install: this user's own service manager does not answer ({answer.stderr.strip()}); "
                "log in as the user itself (su and sudo do not start it), or install as root"
            )
    return manager


def _run(command: list[str], timeout: float) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        raise InputError(f"cannot run {command[0]}: it is not installed") from None
    except subprocess.TimeoutExpired:
        raise FairleadError(f"cannot run {' '.join(command)}: no answer within {timeout:.0f} s") from None


def lingers() -> bool:
    """Whether this user's services run without a session."""
    return (
        _run(["loginctl", "show-user", str(os.getuid()), "--value", "--property", "Linger"], _QUICK).stdout.strip()
        == "yes"
    )
