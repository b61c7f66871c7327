"""How long it takes from the start of the command to the first answer, for apps that are nothing special."""

import tempfile
from collections.abc import Callable
from dataclasses import replace

from bench.peers import FAIRLEAD, GUNICORN, UVICORN, Server
from bench.row import Aim, Metric, Reference, Row, Sample, Values
from bench.session import PLAIN, App, Session, free_port

_WORKERS = 2


def _starts(session: Session, server: Server, app: App, workers: int) -> dict[str, list[float]]:
    """A first start, of which nothing is known, and one like it afterwards, as after every boot."""
    state = tempfile.mkdtemp(dir=session.folder)
    app = replace(app, env={**app.env, "FAIRLEAD_STATE_DIR": state})
    port, found = free_port(), {}
    for key in ("first", "again"):
        with session.serving(server, app, workers, port=port) as it:
            found[key] = [it.first_response]
    return found


def _measure(app: Callable[[Session], App]) -> Callable[[Session, Server, Values], Sample]:
    def measure(session: Session, server: Server, reference: Values) -> Sample:
        found = _starts(session, server, app(session), _WORKERS)
        ratios = {
            f"{key}_ratio": [found[key][0] / one for one in ones] for key, ones in reference.items() if key in found
        }
        return Sample({**found, **ratios})

    return measure


def _alone(app: Callable[[Session], App]) -> Callable[[Session], Sample]:
    def measure(session: Session) -> Sample:
        found = _starts(session, UVICORN, app(session), 1)
        return Sample({**found, "first_ratio": [1.0], "again_ratio": [1.0]})

    return measure


def _row(name: str, what: str, app: Callable[[Session], App]) -> Row:
    return Row(
        name,
        f"Start: 2 workers of {what}",
        "From the start of the command to the first answer, with a client that tries again every 5 ms; once with nothing "
        "known of an earlier start, and once more as at every later boot. Both over the same of `uvicorn` with one process "
        "and without a supervisor, which is what a plain unit for systemd starts, in the same round.",
        (
            Metric("first", "first start, s", 2),
            Metric("first_ratio", "× uvicorn", 2, neutral=True),
            Metric("again", "later starts, s", 2, plot=True),
            Metric("again_ratio", "× uvicorn", 2, neutral=True),
        ),
        (FAIRLEAD, UVICORN, GUNICORN),
        _measure(app),
        aims=(Aim("again_ratio", 1.2, False, "a later start over one uvicorn process"),),
        reference=Reference("uvicorn, one process", _alone(app)),
        quick_servers=(FAIRLEAD, UVICORN),
        seconds=(1.5, 1.5),
    )


ROWS = (
    _row("startup", "the plain app", lambda _session: PLAIN),
    _row("startup-shop", "the shop", lambda session: session.shop()),
)
