"""What is collected before the heap is frozen, in a process of its own."""

import subprocess
import sys

import pytest

SCRIPT = """
import gc, sys
from fairlead.host.pages import resident
from fairlead.worker.template import hold_gc, tune_gc
before = hold_gc()
class Cycle: pass
one = Cycle()
one.self, one.text = one, bytearray({size})
del one
tune_gc(before)
print(resident("self")[1] - before)
"""


@pytest.mark.parametrize(("size", "kept"), [(200_000_000, False), (20_000_000, True)])
def test_garbage_is_collected_where_there_may_be_much(size: int, kept: bool) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT.format(size=size)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert (int(done.stdout) > size / 2) == kept
