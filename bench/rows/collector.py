"""Whether the tuning of the garbage collector (`memory.gc`) is worth it, each part of it alone."""

import json
from pathlib import Path

from bench.peers import FAIRLEAD, Server
from bench.row import Metric, Row, Sample, Values
from bench.session import App, Session

_APPS = Path(__file__).parent.parent / "apps"
_MODES = {
    "both": ("frozen", "tuned"),
    "frozen": ("frozen", "default"),
    "tuned": ("plain", "tuned"),
    "none": ("plain", "default"),
}


def _collector(session: Session, _server: Server, _reference: Values) -> Sample:
    app = App("collects:app", _APPS, env={"ENTRIES": str(int(session.pick(100_000, 400_000)))})
    requests = str(int(session.pick(300, 800)))
    values: dict[str, list[float]] = {}
    for key, mode in _MODES.items():
        found = json.loads(session.python("collects.py", *mode, requests, app=app))
        values[key] = [found["micros"]]
        values[f"{key}_mb"] = [found["private"] / 1e6]
    return Sample(values)


ROWS = (
    Row(
        "collector",
        "Garbage collection in a fork of an app that holds 400,000 entries",
        "Requests that make 1,000 small objects each, called in a loop as a server would: CPU time, and what the fork holds for "
        "itself alone afterwards. Frozen: the heap of the import is out of the collector's sight. Thresholds: it works after "
        "10,000 new objects instead of 700. `memory.gc` is both, or neither. (With --quick: 100,000.)",
        (
            Metric("both", "both, µs"),
            Metric("frozen", "frozen alone, µs"),
            Metric("tuned", "thresholds alone, µs"),
            Metric("none", "neither, µs"),
            Metric("both_mb", "both, MB", 1),
            Metric("frozen_mb", "frozen alone, MB", 1),
            Metric("tuned_mb", "thresholds alone, MB", 1),
            Metric("none_mb", "neither, MB", 1),
        ),
        (FAIRLEAD,),
        _collector,
        quick_rounds=0,
        seconds=(10.0, 20.0),
        most_rounds=1,
    ),
)
