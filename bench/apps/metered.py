"""What a worker's meter of its own memory costs, and nothing else: forks at rest that look as often as workers do, or that
do not look.

    python metered.py {metered|bare} SECONDS

Prints the CPU seconds that 8 forks used meanwhile, as JSON; the account that each takes at its beginning is not in it.
"""

import json
import os
import sys
import time

from fairlead.worker.memory import MemoryMeter

TABLE = b"s" * int(os.environ.get("METERED_SHARED", "1000000"))
FORKS = 8
PAUSE = 0.5
"""Seconds between two looks of a worker without a connection."""
SETTLE = 4.0


def rest(metered: bool, seconds: float) -> float:
    """CPU seconds of this process, between the moment it has settled and its end."""
    meter = MemoryMeter(forked=True)
    if metered:
        meter.begin(time.monotonic())
    began, used = time.monotonic(), 0.0
    settled = False
    while (now := time.monotonic()) < began + SETTLE + seconds:
        if not settled and now >= began + SETTLE:
            settled, used = True, time.process_time()
        if metered:
            meter.read(now)
        time.sleep(PAUSE)
    return time.process_time() - used


def main() -> None:
    metered, seconds = sys.argv[1] == "metered", float(sys.argv[2])
    reading, writing = os.pipe()
    for _ in range(FORKS):
        if os.fork() == 0:
            os.write(writing, f"{rest(metered, seconds)}\n".encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as lines:
        used = [float(line) for line in lines]
    for _ in range(FORKS):
        os.wait()
    print(json.dumps({"forks": len(used), "cpu": sum(used)}))


main()
