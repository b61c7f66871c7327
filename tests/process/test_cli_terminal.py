"""The command on a terminal of its own, and what it costs to start."""

import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from service import DEADLINE, Service

COMMAND = [sys.executable, "-m", "fairlead.cli.main"]


class Terminal:
    """`fairlead status --watch` on a pseudo-terminal."""

    def __init__(self, service: Service) -> None:
        self._ours, self._theirs = pty.openpty()
        self.before = termios.tcgetattr(self._theirs)
        self._text = b""
        environment = {**service.environment(), "TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
        self.process = subprocess.Popen(
            [*COMMAND, "status", "--watch"],
            cwd=service.folder,
            env=environment,
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # A suite that a shell runs in the background has SIGINT ignored, and so would its children.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def wait_for(self, text: str) -> None:
        """Reads until `text` is on the screen."""
        deadline = time.monotonic() + DEADLINE
        while text.encode() not in self._text:
            ready, _, _ = select.select([self._ours], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"{text!r} never came: {self._text[-2000:]!r}"
            self._text += os.read(self._ours, 65536)

    def press(self, key: str) -> None:
        os.write(self._ours, key.encode())

    def exit_code(self) -> int:
        """Waits for the end, reading what still comes: a full terminal would block it."""
        deadline = time.monotonic() + DEADLINE
        while self.process.poll() is None and time.monotonic() < deadline:
            if select.select([self._ours], [], [], 0.05)[0]:
                self._text += os.read(self._ours, 65536)
        return self.process.wait(0)

    def settings(self) -> list[object]:
        return termios.tcgetattr(self._theirs)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(DEADLINE)
        os.close(self._ours)
        os.close(self._theirs)


@pytest.fixture
def terminal(service: Service):
    service.start("--workers", "1")
    made = Terminal(service)
    yield made
    made.close()


def test_watch_shows_rates_and_ends_with_q(terminal: Terminal) -> None:
    terminal.wait_for("requests/s")
    terminal.press("x")
    terminal.press("q")
    assert terminal.exit_code() == 0
    assert terminal.settings() == terminal.before


def test_watch_ends_with_an_interrupt_and_leaves_the_terminal_as_it_was(terminal: Terminal) -> None:
    terminal.wait_for("requests/s")
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.exit_code() == 0
    assert terminal.settings() == terminal.before


def test_watch_ends_with_the_cause_when_the_instance_is_gone(terminal: Terminal, service: Service) -> None:
    terminal.wait_for("requests/s")
    assert service.stop() == 0
    terminal.wait_for("cannot reach the instance")
    assert terminal.exit_code() == 1
    assert terminal.settings() == terminal.before


def test_commands_to_an_instance_do_without_the_settings_models(service: Service) -> None:
    service.start("--workers", "1")
    program = (
        "import sys\nfrom fairlead.cli.main import main\n"
        "try:\n    main(['status', '--json'])\nfinally:\n    print('fairlead.config.settings' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=service.folder, env=service.environment(), capture_output=True, text=True
    )
    assert done.returncode == 0
    assert done.stderr == "False\n"


def test_reader_that_has_enough_is_no_error(tmp_path: Path) -> None:
    program = f"{' '.join(COMMAND)} config --json | head -n 1"
    done = subprocess.run(program, shell=True, cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("{\n", "")


def test_output_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([*COMMAND, "config"], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, timeout=30)
    assert (done.returncode, done.stderr) == (1, b"error: cannot write: No space left on device\n")
