"""In processes of their own: what is imported is what this is about."""

import subprocess
import sys

import pytest


def python(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


ADAPTER = "import sys; import fairlead.worker.uvicorn_adapter as adapter; "


def test_the_command_line_of_uvicorn_is_not_imported() -> None:
    assert python(ADAPTER + "print([n for n in ('uvicorn.main', 'uvicorn.supervisors') if n in sys.modules])") == "[]"


@pytest.mark.parametrize(
    "script",
    [
        "import uvicorn; print(callable(uvicorn.run), uvicorn.Config is adapter.Config)",
        "from uvicorn import run, Config; print(callable(run), Config is adapter.Config)",
        "from uvicorn import *; print(callable(run), Config is adapter.Config)",
        "import uvicorn; print('run' in dir(uvicorn), 'Config' in dir(uvicorn))",
        "import uvicorn.main; print(callable(uvicorn.main.__call__), uvicorn.__version__ > '0')",
    ],
)
def test_an_app_that_asks_for_it_gets_it(script: str) -> None:
    assert python(ADAPTER + script) == "True True"


def test_what_is_not_there_is_still_not_there() -> None:
    assert python(ADAPTER + "import uvicorn; print(hasattr(uvicorn, 'no_such_thing'))") == "False"


def test_many_threads_may_ask_at_once() -> None:
    script = """
import threading, uvicorn
found = []
threads = [threading.Thread(target=lambda: found.append(uvicorn.run)) for _ in range(20)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(found), len(set(found)))
"""
    assert python(ADAPTER + script) == "20 1"


def test_uvicorn_that_is_imported_already_stays_as_it_is() -> None:
    assert python(
        "import uvicorn; before = uvicorn; " + ADAPTER + "print(uvicorn is before, callable(uvicorn.run))"
    ) == ("True True")
