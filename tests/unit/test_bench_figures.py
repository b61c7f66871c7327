"""From samples to figures, aims and tables."""

import os
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest
from bench import __main__ as bench_main
from bench import budget, front, machine, peers_page, publish, report, rounds, standing
from bench.budget import Plan
from bench.errors import BenchError
from bench.peers import EVERYBODY, FAIRLEAD, FRONTS, GRANIAN, SERVERS, UVICORN, Launch, Pair, Server
from bench.row import Against, Aim, Metric, Reference, Row, RowResult, Sample, Total, Values
from bench.rows import ROWS
from bench.session import Session
from bench.stats import Summary, percentile


def _row(*aims: Aim) -> Row:
    metrics = (
        Metric("rate", "requests/s", higher_is_better=True, plot=True),
        Metric("lost", "lost", total=Total.SUM),
        Metric("share", "share", 2, total=Total.LARGEST),
    )
    return Row("row", "A row", "How.", metrics, (FAIRLEAD, UVICORN), _never_measured, aims)


def _never_measured(_session: Session, _server: Server, _reference: Values) -> Sample:
    raise AssertionError


def _result(ours: list[Sample | None], theirs: list[Sample | None], *aims: Aim) -> RowResult:
    result = RowResult(_row(*aims), {FAIRLEAD.name: ours, UVICORN.name: theirs})
    result.foreign = [0.0]
    return result


def _plan(row: Row, count: int) -> Plan:
    return Plan(row, tuple(server.name for server in row.servers), count, quick=True)


def _document(*results: RowResult, quick: bool = False) -> report.Document:
    facts = {"date": "2026-11-23 10:00 UTC", "cpu": "2 × a CPU", "memory": "4 GB", "commit": "abc1234"}
    return report.as_json(results, facts, {}, quick)


def _rate(*runs: float) -> Sample:
    return Sample({"rate": list(runs)})


def test_a_ratio_compares_the_same_round_only() -> None:
    # The machine is ten times slower in the second round, for both: the ratio is the same, that of the medians is not.
    result = _result([_rate(110), _rate(11), _rate(1100)], [_rate(100), _rate(10), _rate(1000)])
    assert rounds.ratio(result, FAIRLEAD.name, UVICORN.name, "rate") == pytest.approx(1.1)


def test_a_ratio_leaves_out_rounds_in_which_one_could_not_be_measured() -> None:
    result = _result([None, _rate(20)], [_rate(1), _rate(10)])
    assert rounds.ratio(result, FAIRLEAD.name, UVICORN.name, "rate") == 2.0


@pytest.mark.parametrize(("key", "expected"), [("rate", 2.0), ("lost", 6.0), ("share", 3.0)])
def test_a_figure_is_the_median_sum_or_largest_of_all_runs(key: str, expected: float) -> None:
    result = _result([Sample({key: [1.0, 3.0]}), Sample({key: [2.0]})], [])
    assert rounds.figure(result, FAIRLEAD.name, key) == expected


@pytest.mark.parametrize(
    ("aim", "found", "reached"),
    [
        (Aim("rate", 1.0, True, "rate", Against.PEER, UVICORN.name), 0.9, False),
        (Aim("rate", 0.9, True, "rate", Against.PEER, UVICORN.name), 0.9, True),
        (Aim("rate", 0.9, True, "rate", Against.OWN_MEDIAN), 0.8, False),
        (Aim("rate", 90, False, "rate"), 90.0, True),
        (Aim("lost", 0, False, "lost"), None, None),
    ],
)
def test_an_aim_is_judged_by_what_it_is_against(aim: Aim, found: float | None, reached: bool | None) -> None:
    result = _result([_rate(90), _rate(72, 99)], [_rate(100), _rate(95)])
    assert rounds.reached(result, aim, FAIRLEAD.name) == (pytest.approx(found) if found else None, reached)


def test_rounds_are_interleaved_and_a_failure_is_a_gap_with_its_cause(tmp_path: Path) -> None:
    order: list[str] = []

    def measure(_session: Session, server: Server, _reference: Values) -> Sample:
        order.append(server.name)
        if server is UVICORN and len(order) == 2:
            raise BenchError("the port is taken")
        return _rate(len(order))

    row = Row("row", "", "", _row().metrics, (FAIRLEAD, UVICORN), measure)
    result = rounds.run(_plan(row, 2), Session(True, tmp_path), row.servers)
    assert order == [FAIRLEAD.name, UVICORN.name] * 2
    assert result.samples[UVICORN.name] == [None, _rate(4)]
    assert result.failures == {UVICORN.name: ["the port is taken"]}


def test_peers_are_left_out_after_their_rounds_and_after_two_failures(tmp_path: Path) -> None:
    order: list[str] = []

    def measure(_session: Session, server: Server, _reference: Values) -> Sample:
        order.append(server.name)
        if server is GRANIAN:
            raise BenchError("it ended with 1 at the start")
        return _rate(1.0)

    row = Row("row", "", "", _row().metrics, (FAIRLEAD, UVICORN, GRANIAN), measure, peer_rounds=3)
    result = rounds.run(_plan(row, 4), Session(True, tmp_path), row.servers)
    assert [order.count(server.name) for server in row.servers] == [4, 3, 2]
    assert result.failures == {GRANIAN.name: ["it ended with 1 at the start"] * 2}


def test_a_peer_that_cannot_start_stands_in_the_table_with_the_cause() -> None:
    result = _result([_rate(90)], [None])
    result.failures = {UVICORN.name: ["it ended with 1 at the start: no such file"]}
    document = _document(result)
    text = report.as_markdown(document)
    assert f"| {UVICORN.name} | failed | failed | failed |" in text
    assert f"- {UVICORN.name} could not be measured: it ended with 1 at the start: no such file" in text
    assert report.exit_code(document) == 0


def test_the_report_shows_where_a_peer_wins_and_fails_when_an_aim_is_missed() -> None:
    aim = Aim("rate", 1.0, True, "requests/s over uvicorn's", Against.PEER, UVICORN.name)
    document = report.as_json([_result([_rate(90)], [_rate(100)], aim)], {"cpu": "2"}, {}, quick=False)
    text = report.as_markdown(document)
    assert "1.11×" in text
    assert "**missed**" in text
    assert report.exit_code(document) == 1


def test_the_report_says_so_when_the_machine_was_busy() -> None:
    result = _result([_rate(90)], [_rate(100)])
    assert "usy machine" not in report.as_markdown(report.as_json([result], {}, {}, quick=False))
    result.foreign = [0.5]
    assert "Busy machine: others used 50%" in report.as_markdown(report.as_json([result], {}, {}, quick=False))


def test_what_the_host_took_from_a_virtual_machine_counts_as_used_by_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def reading(steal: int) -> machine.Usage:
        monkeypatch.setattr(machine, "_lines", lambda _path: [f"cpu  100 0 100 900 0 0 0 {steal} 0 0"])
        return machine.Usage.now()

    before, after = replace(reading(0), wall=0.0, ours=0.0), replace(reading(300), wall=1.0, ours=0.0)
    share = 300 / os.sysconf("SC_CLK_TCK") / (os.cpu_count() or 1)
    assert before.foreign_share(after) == pytest.approx(share)


def test_aims_about_the_whole_run_are_not_judged_by_a_quick_one() -> None:
    aim = Aim("rate", 1000, True, "rate", full_only=True)
    document = report.as_json([_result([_rate(90)], [], aim)], {}, {}, quick=True)
    assert report.exit_code(document) == 0
    assert document["rows"][0]["aims"] == []


def test_a_picture_is_well_formed_and_readable_on_dark_pages(tmp_path: Path) -> None:
    document = report.as_json([_result([_rate(90, 80)], [_rate(100)])], {}, {}, quick=False)
    paths = report.write(document, tmp_path)
    (picture,) = [path for path in paths if path.suffix == ".svg"]
    kinds = [
        rect.get("class") for rect in ElementTree.parse(picture).getroot().iter("{http://www.w3.org/2000/svg}rect")
    ]
    assert kinds == ["card", "ours", "peer"]
    assert "prefers-color-scheme: dark" in picture.read_text()


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.name)
def test_every_server_is_told_its_workers_and_port_and_to_log_requests_only_when_asked(server: Server) -> None:
    off, on = (server.command(Launch(Path("bin"), "plain:app", 8123, 3, access_log)) for access_log in (False, True))
    assert "plain:app" in off
    assert off[off.index("--workers") + 1] == "3"
    assert any("8123" in part for part in off)
    assert off != on


@pytest.mark.parametrize("server", FRONTS, ids=lambda server: server.name)
def test_every_proxy_is_told_its_port_and_certificate_and_the_workers_behind_it(server: Server) -> None:
    command = server.command(Launch(Path("bin"), "plain:app", 8123, 3, tls=Pair(Path("c.pem"), Path("k.pem"))))
    assert {"8123", "c.pem", "k.pem", "plain:app"} <= set(command)
    assert command[command.index("--workers") + 1] == "3"


def test_every_aim_is_about_a_metric_and_a_server_of_its_row() -> None:
    for row in ROWS:
        for aim in row.aims:
            assert aim.metric in {metric.key for metric in row.metrics}, row.name
            assert not aim.peer or aim.peer in {server.name for server in row.servers}, row.name
    assert len({row.name for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize(("quick", "most"), [(True, budget.MOST_QUICK), (False, budget.MOST)])
def test_the_rows_together_stay_within_the_time_that_is_promised(quick: bool, most: float) -> None:
    assert budget.total(bench_main.plans(quick=quick)) <= most


def test_a_quick_run_leaves_out_rows_that_are_not_for_it_unless_they_are_asked_for() -> None:
    left_out = {row.name for row in ROWS if not row.quick_rounds}
    assert left_out
    assert not left_out & {plan.row.name for plan in bench_main.plans(quick=True)}
    assert left_out <= {plan.row.name for plan in bench_main.plans(quick=False)}
    (asked,) = bench_main.plans(quick=True, rows=[min(left_out)], servers=[UVICORN.name])
    assert (asked.row.name, asked.rounds) == (min(left_out), 1)
    assert set(asked.servers) <= {FAIRLEAD.name, UVICORN.name}


def test_a_row_that_spares_its_peers_says_so() -> None:
    for row in ROWS:
        spares = row.peer_rounds < min(5, row.most_rounds) and len(row.servers) > 1
        assert not spares or "in the first" in row.how, row.name


def test_the_estimate_counts_the_reference_and_the_rounds_of_peers() -> None:
    row = Row("row", "", "", (), (FAIRLEAD, UVICORN), _never_measured, peer_rounds=2, seconds=(1.0, 10.0))
    assert _plan(row, 5).seconds == 5 + 2
    with_reference = replace(row, reference=Reference("bare", lambda _session: _rate(1.0)))
    assert _plan(with_reference, 5).seconds == 5 + 2 + 5
    assert Plan(row, (FAIRLEAD.name,), 5, quick=False).seconds == 50.0


def test_a_slow_machine_gets_fewer_rounds_but_not_fewer_than_three() -> None:
    row = Row("row", "", "", (), (FAIRLEAD,), _never_measured, seconds=(1.0, 10.0))
    chosen = tuple(Plan(row, (FAIRLEAD.name,), 10, quick=False) for _ in range(3))  # 100 s each

    def rounds_after(elapsed: float) -> int:
        return budget.Progress(chosen, time.monotonic() - elapsed).fitting(1, limit=310).rounds

    # After one row of three: in time; twice as slow as estimated; so slow that the limit is passed already.
    assert [rounds_after(100), rounds_after(200), rounds_after(400)] == [10, 3, 3]
    assert rounds_after(150) == 5
    few = replace(chosen[1], rounds=2)
    assert budget.Progress((chosen[0], few), time.monotonic() - 400).fitting(1, limit=310).rounds == 2


def _told(ours: list[float], theirs: list[float]) -> list[tuple[str, bool]]:
    """What is said of the rates of rounds: the text, and whether it is called even."""
    result = _result([_rate(one) for one in ours], [_rate(one) for one in theirs])
    return [(one.told, one.even) for one in standing.standings(_document(result))]


@pytest.mark.parametrize(
    ("ours", "theirs", "told"),
    [
        ([100], [130], [("1.30 × ours (one round)", False)]),
        ([100], [101], []),  # within the noise
        ([130], [100], []),
        # The machine was three times slower in one round, for both: the ratios do not see it.
        ([100, 300, 310], [110, 360, 341], [("1.10 × ours (1.10–1.20)", False)]),
        ([100, 300, 310], [110, 150, 341], [("1.10 × ours (0.50–1.10)", True)]),  # one of three is against it
        ([100, 100, 100], [130, 130, 99], [("1.30 × ours (0.99–1.30)", False)]),  # alike in one is not against it
        ([100] * 5, [130, 130, 130, 130, 90], [("1.30 × ours (0.90–1.30)", False)]),  # one of five may be chance
        ([100] * 5, [130, 130, 130, 90, 90], [("1.30 × ours (0.90–1.30)", True)]),
    ],
)
def test_a_peer_is_ahead_when_the_rounds_agree_on_it(
    ours: list[float], theirs: list[float], told: list[tuple[str, bool]]
) -> None:
    assert _told(ours, theirs) == told


def test_what_the_readme_says_of_a_peer_ahead_is_the_ratio_of_the_same_rounds() -> None:
    def text(*theirs: float) -> str:
        result = _result([_rate(100), _rate(400)], [_rate(one) for one in theirs])
        return publish.summary(_document(result), picture=False)

    ahead = text(120, 440)
    assert f"- A row: requests/s: {UVICORN.name} 1.15 × ours (1.10–1.20)" in ahead
    assert "Even" not in ahead
    even = text(80, 600)
    assert "No peer was ahead" in even
    assert even.index("Even: ") < even.index(f"- A row: requests/s: {UVICORN.name} 1.15 × ours (0.80–1.50)")
    assert f"{UVICORN.name} " not in text(80, 300).split("Bold: ")[1]


def test_a_peer_that_is_surely_ahead_is_named_before_one_that_may_be_more() -> None:
    servers = (FAIRLEAD, UVICORN, GRANIAN)
    row = replace(_row(), servers=servers)
    runs = ([100, 100, 100], [110, 110, 110], [150, 150, 50])
    samples = {server.name: [_rate(one) for one in rates] for server, rates in zip(servers, runs, strict=True)}
    (found,) = standing.standings(_document(RowResult(row, dict(samples), foreign=[0.0])))
    assert (found.peer, found.even) == (UVICORN.name, False)


def test_the_best_and_those_even_with_it_stand_out_in_the_readme(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "_HEADLINES", (("row", "rate", "Rate"),))
    samples = [_rate(100), _rate(100), _rate(130)]
    even, worse = ([_rate(one) for one in rates] for rates in ((99, 120, 90), (90, 90, 90)))
    assert "| Rate | **100** | **99** |" in publish.summary(_document(_result([*samples], [*even])), picture=False)
    assert "| Rate | **100** | 90 |" in publish.summary(_document(_result([*samples], [*worse])), picture=False)


def test_figures_are_told_where_a_ratio_would_say_nothing() -> None:
    metrics = (Metric("cpu", "CPU, %", 3),)
    row = Row("row", "A row", "How.", metrics, (FAIRLEAD, UVICORN), _never_measured)
    samples: dict[str, list[Sample | None]] = {
        FAIRLEAD.name: [Sample({"cpu": [0.056]})],
        UVICORN.name: [Sample({"cpu": [0.0]})],
    }
    (found,) = standing.standings(_document(RowResult(row, samples, foreign=[0.0])))
    assert (found.told, found.even) == ("0.000, ours 0.056", False)


def test_sums_are_compared_by_the_round_because_peers_may_have_fewer() -> None:
    def lost(*runs: float) -> list[Sample | None]:
        return [Sample({"lost": [run]}) for run in runs]

    # Fairlead lost 3 in five rounds, the peer 2 in one: the peer is not ahead, though its sum is smaller.
    assert not standing.standings(_document(_result(lost(3, 0, 0, 0, 0), lost(2))))
    (found,) = standing.standings(_document(_result(lost(3, 0, 0, 0, 0), lost(0))))
    assert (found.peer, found.metric, found.told) == (UVICORN.name, "lost", "0, ours 0.6 a round")
    assert not found.even


def test_the_reference_and_neutral_metrics_are_ahead_of_nobody() -> None:
    metrics = (Metric("rate", "requests/s", higher_is_better=True), Metric("requests", "requests", neutral=True))
    reference = Reference("bare", lambda _session: _rate(1.0))
    row = Row("row", "A row", "How.", metrics, (FAIRLEAD, UVICORN), _never_measured, reference=reference)
    one = Sample({"rate": [10.0], "requests": [500.0]})
    few = Sample({"rate": [9.0], "requests": [1.0]})
    result = RowResult(row, {"bare": [_rate(1000.0)], FAIRLEAD.name: [one], UVICORN.name: [few]}, foreign=[0.0])
    assert standing.standings(_document(result)) == []


def test_the_readme_says_when_the_run_was_quick_or_the_machine_busy() -> None:
    result = _result([_rate(90)], [_rate(100)])
    calm = publish.summary(_document(result), picture=False)
    assert "quick look" not in calm
    assert "busy" not in calm
    result.foreign = [0.5]
    busy = publish.summary(_document(result, quick=True), picture=False)
    assert "quick look" in busy
    assert "others used 50%" in busy


def test_publishing_changes_only_what_stands_between_the_marks_and_settles_at_once() -> None:
    readme = publish.README.read_text()
    document = _document(_result([_rate(90)], [_rate(100)]))
    once = publish.texts(document, readme)[publish.README]
    assert publish.texts(document, once)[publish.README] == once
    assert once.split("<!-- bench:")[0] == readme.split("<!-- bench:")[0]
    assert once.partition("<!-- bench: end -->")[2] == readme.partition("<!-- bench: end -->")[2]
    with pytest.raises(BenchError, match=r"README\.md has no lines"):
        publish.texts(document, "a README without marks")


def test_what_is_published_is_what_the_results_say() -> None:
    stale = [
        path
        for path, text in publish.texts(publish.load(), publish.README.read_text()).items()
        if path.read_text() != text
    ]
    assert not stale, "run scripts/bench --publish"


def test_the_page_about_peers_shows_every_command_line_and_no_path_of_this_machine() -> None:
    text = peers_page.text()
    assert all(f"## {server.name}\n" in text for server in EVERYBODY)
    assert all(server.docs in text and server.told for server in EVERYBODY)
    assert str(publish.ROOT) not in text
    assert "BIN" not in text


@pytest.mark.parametrize("proxy", ["nginx", "haproxy", "caddy", "traefik"])
def test_a_proxy_is_given_the_certificate_only_for_https(proxy: str) -> None:
    values = {"port": 8123, "upstream": 8124, "folder": "/there", "certificate": "c.pem", "key": "k.pem"}
    https, http = (front.configuration(proxy, {**values, **more}) for more in ({}, {"certificate": "-", "key": "-"}))
    assert "c.pem" in https or "/there/pair.pem" in https
    assert "pem" not in http
    assert "tls" not in http.replace("ssl-min-ver TLSv1.2", "")
    assert "8124" in http
    assert "8124" in https


def test_summaries_and_percentiles() -> None:
    assert Summary.of([3.0, 1.0, 2.0]) == Summary(median=2.0, low=1.0, high=3.0, total=6.0, runs=3)
    values = [float(number) for number in range(1000)]
    assert (percentile(values, 50), percentile(values, 99.9), percentile([5.0], 99)) == (500.0, 999.0, 5.0)
