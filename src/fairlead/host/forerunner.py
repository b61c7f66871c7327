"""A process that `fairlead run` starts before anything else: by the time that there is a plan and a supervisor, it has
imported what every template and worker needs, and becomes the first of them.

It runs nothing of the app's before its `Begin`, and ends without a word when its channel does.
"""

import os
import sys

# socket itself would cost three times as much as all else that has to be done before the process starts.
from _socket import AF_UNIX, SOCK_SEQPACKET, socketpair
from typing import TYPE_CHECKING

from fairlead.host import pythonpath
from fairlead.host.spawn import SETTABLE_SIGNALS, spawn

if TYPE_CHECKING:
    from fairlead.host.channel import Channel

WAIT = "--wait"
_PROGRAM = "fairlead.worker"


class Forerunner:
    """The process `pid`, and our end of its channel."""

    def __init__(self, pid: int, descriptor: int) -> None:
        self.pid = pid
        self.descriptor = descriptor

    @classmethod
    def start(cls) -> "Forerunner | None":
        """None when the kernel refuses: then the template is started later, and that is told if it fails as well."""
        try:
            ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET)
            try:
                given = [WAIT, str(theirs.fileno())]
                if _may_be_forked():
                    pid = _fork(given, ours.fileno())
                else:
                    pid = spawn([sys.executable, "-P", "-m", _PROGRAM, *given], (theirs.fileno(),))
                return cls(pid, ours.detach())
            finally:
                theirs.close()
        except OSError:
            return None

    def dismiss(self) -> None:
        """Ends it: there will be no supervisor. Called by its parent, at most once."""
        os.close(self.descriptor)
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)

    def begin(self, arguments: tuple[str, ...], descriptors: tuple[int, ...]) -> "Channel | None":
        """Sends it to work; its channel from now on, or None when it is not there any more. At most once."""
        from fairlead.host.channel import MAX_DESCRIPTORS, Channel
        from fairlead.messages import Begin

        channel = Channel.from_descriptor(self.descriptor)
        if len(descriptors) <= MAX_DESCRIPTORS and channel.send(Begin(arguments), descriptors):
            return channel
        channel.close()
        return None


def _may_be_forked() -> bool:
    """Whether this process is as good as a new one: a fork saves the start of an interpreter. Not so when something that
    Python runs before us (sitecustomize, a .pth file) has begun threads of its own, which a fork would lose, nor when Python was
    given options, which a new program would not have."""
    given = sys.orig_argv[1:2] if sys.orig_argv[1:2] != ["-P"] else sys.orig_argv[2:3]
    plain = bool(given) and (given[0] in ("-m", "-c") or not given[0].startswith("-"))
    return plain and "threading" not in sys.modules and len(os.listdir("/proc/self/task")) == 1


def _fork(arguments: list[str], parents: int) -> int:
    """What `spawn` of the program does, without another interpreter; returns the pid. `parents`: a descriptor that is not for it."""
    pid = os.fork()
    if pid == 0:
        code: object = 1
        try:
            os.setpgid(0, 0)
            os.close(parents)
            _become_program(arguments)
        except SystemExit as error:
            code = error.code  # what runs in a fork of this one may end itself so
        except BaseException:  # noqa: BLE001 - nothing may get from here into what the parent does
            sys.excepthook(*sys.exc_info())
        finally:
            _end(code)
    return pid


def _end(code: object) -> None:
    """Ends this process as Python ends one that calls `sys.exit(code)`."""
    import atexit

    number = code if isinstance(code, int) else 0 if code is None else 1
    try:
        if number is not code and code is not None:
            print(code, file=sys.stderr)
        if "threading" in sys.modules:
            sys.modules["threading"]._shutdown()  # noqa: SLF001 - it waits for those that are no daemons
        atexit._run_exitfuncs()  # noqa: SLF001
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    finally:
        os._exit(number & 0xFF)


def _become_program(arguments: list[str]) -> None:
    """`python -P -m fairlead.worker`, in this process."""
    import gc
    import importlib
    import signal
    from types import SimpleNamespace

    gc.disable()  # as the program does first of all
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    for descriptor, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:  # it was closed when Python began, and is /dev/null by now
            setattr(sys, name, open(descriptor, mode, closefd=False, encoding="utf-8"))  # noqa: SIM115 - it stays
    for number in SETTABLE_SIGNALS:
        if signal.getsignal(number) == signal.SIG_IGN and number not in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    pythonpath.leave_own_folder()
    # What an app starts through multiprocessing gets the options that are in here.
    flags = {name: getattr(sys.flags, name) for name in dir(sys.flags) if not name.startswith(("_", "n_"))}
    sys.flags = SimpleNamespace(**{**flags, "safe_path": True})  # type: ignore[assignment]
    program = importlib.import_module(f"{_PROGRAM}.__main__")
    # An app may look at these: multiprocessing starts its processes by them.
    sys.modules["__main__"] = program
    sys.argv = [str(program.__file__), *arguments]
    program.end_process(program.main(arguments))
