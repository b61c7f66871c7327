"""Skipped tests are counted and told with their reasons, and with CI=true a skip fails the run; what a test leaves open is its own fault."""

import gc
import os
from collections import Counter
from collections.abc import Iterator

import pytest


def _skips(config: pytest.Config) -> Counter[str]:
    """Reason → how many tests."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    reports = reporter.stats.get("skipped", []) if reporter else []
    return Counter(
        report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr) for report in reports
    )


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A run in CI that has skipped something has not tested everything, so it has not passed."""
    if exitstatus == pytest.ExitCode.OK and os.environ.get("CI") == "true" and _skips(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The skips, above pytest's closing line."""
    skips = _skips(config)
    if not skips:
        return
    verdict = ", which fails a run with CI=true" if os.environ.get("CI") == "true" else ""
    terminalreporter.section(f"{skips.total()} skipped{verdict}")
    for reason, count in skips.most_common():
        terminalreporter.line(f"{count:4} × {reason}")


def pytest_collection_finish(session: pytest.Session) -> None:
    """What is there before the first test is not looked at again after each of them."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _left_open() -> Iterator[None]:
    """A socket or transport left open is told now, by the test that left it, and not by whichever one is running when it is found."""
    yield
    gc.collect()
