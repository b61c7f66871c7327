"""From samples to figures, aims and tables."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from bench import report, rounds
from bench.errors import BenchError
from bench.peers import FAIRLEAD, FRONTS, SERVERS, UVICORN, Launch, Pair, Server
from bench.row import Against, Aim, Metric, Row, RowResult, Sample, Total, Values
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
    result = rounds.run(row, Session(True, tmp_path), row.servers, 2)
    assert order == [FAIRLEAD.name, UVICORN.name] * 2
    assert result.samples[UVICORN.name] == [None, _rate(4)]
    assert result.failures == {UVICORN.name: ["the port is taken"]}


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


def test_aims_about_the_whole_run_are_not_judged_by_a_quick_one() -> None:
    aim = Aim("rate", 1000, True, "rate", full_only=True)
    document = report.as_json([_result([_rate(90)], [], aim)], {}, {}, quick=True)
    assert report.exit_code(document) == 0
    assert document["rows"][0]["aims"] == []


def test_a_picture_is_well_formed_and_readable_on_dark_pages(tmp_path: Path) -> None:
    document = report.as_json([_result([_rate(90, 80)], [_rate(100)])], {}, {}, quick=False)
    paths = report.write(document, tmp_path, None)
    (picture,) = [path for path in paths if path.suffix == ".svg"]
    assert len(ElementTree.parse(picture).getroot().findall("{http://www.w3.org/2000/svg}rect")) == 2
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


def test_summaries_and_percentiles() -> None:
    assert Summary.of([3.0, 1.0, 2.0]) == Summary(median=2.0, low=1.0, high=3.0, total=6.0, runs=3)
    values = [float(number) for number in range(1000)]
    assert (percentile(values, 50), percentile(values, 99.9), percentile([5.0], 99)) == (500.0, 999.0, 5.0)
