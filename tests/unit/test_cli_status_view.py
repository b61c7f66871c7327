import copy

import pytest
from rich.console import Console

from fairlead.cli.status_view import Rates, render

WORKER = {
    "slot": 0,
    "worker": 5,
    "pid": 1234567,
    "release": 12,
    "state": "serving",
    "age": 7300.0,
    "connections": 128,
    "websockets": 1,
    "in_flight": 12,
    "requests": 1_234_567,
    "errors": 3,
    "accepted": 500,
    "cpu_seconds": 62.5,
    "heartbeat_age": 0.05,
    "pss_bytes": 90_000_000,
    "uss_bytes": 45_200_000,
    "rss_bytes": 612_000_000,
}
STARTING = WORKER | {
    "slot": 1,
    "worker": 6,
    "pid": None,
    "state": "starting",
    "requests": 0,
    "errors": 0,
    "heartbeat_age": None,
    "pss_bytes": None,
    "uss_bytes": None,
    "rss_bytes": None,
}
REPORT = {
    "name": "shop",
    "pid": 4321,
    "version": "0.1.0",
    "uptime": 7500.0,
    "cwd": "/srv/shop",
    "release": {"number": 12, "state": "serving", "started": "2026-11-23T06:22:31.000+00:00"},
    "releases": [
        {"number": 12, "state": "serving", "template_pid": 1, "spare_pid": 2, "workers": 2, "mode": "fork"},
        {"number": 11, "state": "parked", "template_pid": 3, "spare_pid": None, "workers": 0, "mode": "fork"},
    ],
    "target_workers": 2,
    "listeners": ["http://127.0.0.1:8000", "unix:/run/shop.sock"],
    "workers": [WORKER, STARTING],
    "certificates": [],
    "restarts": [
        {"time": "2026-11-23T06:22:31.000+00:00", "worker": 2, "release": 12, "reason": "signal SIGKILL"},
        {"time": "2026-11-23T06:23:31.000+00:00", "worker": 3, "release": 12, "reason": "hung for 30 s"},
    ],
    "restarts_total": 9,
    "operation": "reload: release 13: importing the app",
    "last_failure": "cannot reload: the app fails",
    "memory": {"supervisor_pss": 17_500_000, "total_pss": 790_000_000},
}


def shown(report, width=80, rates=None) -> str:
    console = Console(width=width, force_terminal=False, color_system=None)
    with console.capture() as capture:
        console.print(render(report, width, rates))
    return capture.get()


def row(text: str, start: str) -> list[str]:
    return next(line.split() for line in text.splitlines() if line.split()[:1] == [start])


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("rates", [None, Rates({5: 12345.0}, {5: 0.98})])
def test_table_is_whole_at_this_width(width, rates):
    text = shown(REPORT, width, rates)
    assert "…" not in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    table = [line for line in text.splitlines() if line.split()[:1] in (["pid"], ["1234567"], ["–"])]
    assert len(table) == 3


def test_worker_shows_its_numbers():
    cells = row(shown(REPORT), "1234567")
    assert cells == ["1234567", "r12", "serving", "2h", "128", "12", "1.2M", "3", "1m", "45.2M", "567M", "0.1s"]


def test_worker_without_readings_shows_dashes():
    cells = row(shown(REPORT), "–")
    assert cells[1:3] == ["r12", "starting"]
    assert cells[-3:] == ["–", "–", "–"]


def test_wide_table_has_full_headings():
    assert "in flight" in shown(REPORT, 120)
    assert "in flight" not in shown(REPORT, 80)


def test_header_says_what_serves_and_what_is_under_way():
    text = " ".join(shown(REPORT).split())
    assert "shop release 12 serving · up 2h5m · pid 4321 · fairlead 0.1.0" in text
    assert "listening on http://127.0.0.1:8000, unix:/run/shop.sock" in text
    assert "1 of 2 workers serve · 790M in all, 17.5M of it the supervisor" in text
    assert "release 11 parked, 0 workers" in text
    assert "under way: reload: release 13: importing the app" in text
    assert "last failure: cannot reload: the app fails" in text


def test_restarts_come_latest_first_with_their_reasons():
    text = shown(REPORT)
    assert "restarts: 9, the last ones:" in text
    assert text.index("worker 3 (r12): hung for 30 s") < text.index("worker 2 (r12): signal SIGKILL")


def test_first_start_without_workers_is_shown():
    report = REPORT | {"release": None, "workers": [], "restarts": [], "operation": None, "last_failure": None}
    text = shown(report | {"memory": {"supervisor_pss": None, "total_pss": None}})
    assert "no release serves yet" in text
    assert "no workers" in text
    assert "in all" not in text
    assert "restarts" not in text


def test_text_of_the_app_is_no_markup():
    assert "[bold]x[/bold] :tada:" in shown(REPORT | {"last_failure": "[bold]x[/bold] :tada:"})


def test_rates_are_differences_by_worker():
    after = copy.deepcopy(REPORT)
    after["workers"][0] |= {"requests": WORKER["requests"] + 500, "cpu_seconds": WORKER["cpu_seconds"] + 1.0}
    after["workers"].append(WORKER | {"worker": 7, "requests": 10, "cpu_seconds": 0.5})
    rates = Rates.between(REPORT, after, 2.0)
    assert rates.requests == {5: 250.0, 6: 0.0, 7: 5.0}
    assert rates.cpu == {5: 0.5, 6: 0.0, 7: 0.25}
    text = shown(after, 80, rates)
    assert "255 requests/s · 75% CPU" in text
    assert "250" in row(text, "1234567")
    assert "50%" in row(text, "1234567")


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (9999, "9999"), (10_000, "10.0k"), (123_456, "123k"), (999_600, "1.0M"), (5 * 10**12, "5000G")],
)
def test_large_counts_stay_narrow(number, text):
    report = REPORT | {"workers": [WORKER | {"requests": number}]}
    assert row(shown(report), "1234567")[6] == text


def test_memory_line_shows_budget_cgroup_and_pressure_as_far_as_there_are_any() -> None:
    assert "memory:" not in shown(REPORT)
    memory = REPORT["memory"] | {
        "cgroup": {"limit": 2_000_000_000, "used": 900_000_000},
        "pressure": {"cgroup": {"some": 0.25, "full": 0.1}, "host": None},
    }
    budget = {"budget": 1_600_000_000, "used": 800_000_000}
    text = shown(REPORT | {"memory": memory, "memory_budget": budget})
    assert "memory: 800M of a budget of 1.6G · cgroup 900M of 2.0G · pressure 25% (cgroup)" in text
    assert max(map(len, text.splitlines())) <= 80
    both = memory | {"pressure": {"cgroup": {"some": 0.0, "full": 0.0}, "host": {"some": 0.5, "full": 0.0}}}
    assert "pressure 0% (cgroup), 50% (host)" in " ".join(shown(REPORT | {"memory": both}).split())
