"""Upgrading the supervisor itself: when it may be, and what is said. Pure; `succession` does it."""

from fairlead.supervisor import rollout
from fairlead.supervisor.actions import HandOver, LookAfterCertificates, Reply, TrySuccessor
from fairlead.supervisor.events import SuccessorFit, SuccessorUnfit, TookOver
from fairlead.supervisor.turn import Turn


def begin(turn: Turn, client: int | None) -> str:
    """Has the successor tried; the reason when that is refused."""
    if refusal := _refusal(turn):
        return refusal
    if turn.state.upgrading:
        return "cannot upgrade: an upgrade is under way"
    turn.state.upgrading = True
    turn.log("info", "upgrade.begin")
    turn.act(TrySuccessor(client))
    return ""


def fit(turn: Turn, event: SuccessorFit) -> None:
    """Hands over, unless something began meanwhile that only this program can finish."""
    if refusal := _refusal(turn):
        unfit(turn, SuccessorUnfit(event.client, refusal.removeprefix("cannot upgrade: ")))
        return
    rollout.announce(turn, at_once=True)  # whoever waits for it is connected to this program
    turn.state.upgrading = False
    turn.act(HandOver(event.client))


def unfit(turn: Turn, event: SuccessorUnfit) -> None:
    """This program goes on."""
    turn.state.upgrading = False
    turn.log("error", "upgrade.failed", cause=event.cause, effect="the supervisor goes on as it is")
    if event.client is not None:
        turn.act(Reply(event.client, error=f"cannot upgrade: {event.cause}"))


def took_over(turn: Turn, event: TookOver) -> None:
    """This program is the successor."""
    turn.log("info", "upgrade.done", version=event.version, before=event.before)
    if turn.state.serving is not None:
        turn.act(LookAfterCertificates(turn.state.releases[turn.state.serving].plan))
    if event.client is not None:
        turn.act(Reply(event.client, result={"version": event.version, "before": event.before}))


def _refusal(turn: Turn) -> str:
    state = turn.state
    if state.stopping is not None:
        return "cannot upgrade: the service is stopping"
    if state.operation is not None:
        return f"cannot upgrade: another change is under way ({rollout.describe(turn, state.operation)})"
    return ""
