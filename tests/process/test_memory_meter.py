"""A worker's account of its own memory, in a real fork."""

import json
import subprocess
import sys

SCRIPT = """
import json, os, sys, time
from fairlead.worker import memory

memory._FIRST = memory._SHORTEST = 0.02
memory._THRIFT, memory._CALM = 1, 1e6
accounts = []
real = memory.read_memory
memory.read_memory = lambda pid: accounts.append(time.monotonic()) or real(pid)

MB = 10**6
shared = bytearray(os.urandom(1) * (50 * MB))
read, write = os.pipe()
if os.fork():
    os.close(write)
    sys.stdout.write(os.fdopen(read).read())
    os.wait()
    sys.exit()


def until(condition):
    end = time.monotonic() + 20
    while not condition(meter.read(time.monotonic())) and time.monotonic() < end:
        time.sleep(0.01)
    return meter.read(time.monotonic())


meter = memory.MemoryMeter(forked=True)
until(lambda _size: len(accounts) == 1 and not meter._busy)
fresh = meter.read(time.monotonic())
since = time.monotonic() + 1
until(lambda _size: time.monotonic() > since)
at_rest = len(accounts)
for place in range(0, len(shared), 4096):
    shared[place] = 1
copied = until(lambda size: size > 45 * MB)
own = bytearray(os.urandom(1) * (30 * MB))
grown = meter.read(time.monotonic())
os.write(write, json.dumps({"fresh": fresh, "at_rest": at_rest, "copied": copied, "grown": grown}).encode())
os._exit(0)
"""


def test_meter_leaves_a_fork_at_rest_alone_and_sees_pages_that_are_copied_later() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=True)
    found = json.loads(done.stdout)
    mega = 10**6
    assert found["fresh"] < 10 * mega
    assert found["at_rest"] == 1
    assert 45 * mega < found["copied"] < 65 * mega
    assert found["grown"] >= found["copied"] + 28 * mega
