"""The certificates of the release that serves: the decisions of https.manager, carried out.

Nothing here blocks: agents and hooks are processes with a deadline, and what a moment brings is looked at again after it.
"""

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import field
from typing import Any

from fairlead.errors import FairleadError
from fairlead.https import files
from fairlead.https.manager import Action, Event, Manager, StartAgent, Swap
from fairlead.https.model import CertificatePlan, HookOrder, HttpsPlan, Job, Result, from_json, to_json
from fairlead.https.store import Store
from fairlead.lean_dataclass import dataclass
from fairlead.observability.events import EventLog
from fairlead.plan.model import Plan
from fairlead.supervisor.actions import Progress, Reply
from fairlead.supervisor.job import HeldProcess, JobProcess

_HOOK_TIMEOUT = 60.0
_GRACE = 5.0
"""Seconds beyond the agent's own deadline before it is told to stop."""
_SOONEST = 0.05
_AGAIN = 10.0
"""Seconds until a store that cannot be read is read again."""
_LEVELS = {"obtained": "info", "revoked": "info", "failed": "error", "expiring": "error", "expired": "error"}


class Certificates:
    """Looks after the certificates of one plan at a time. `swap` tells all workers of a certificate's new key.

    `tell` answers those who asked for a renewal or a revocation.
    """

    def __init__(self, log: EventLog, swap: Callable[[str], None], tell: Callable[[Progress | Reply], None]) -> None:
        self._log = log
        self._swap = swap
        self._tell = tell
        self._https = HttpsPlan()
        self._identity: tuple[int, ...] = ()
        self._manager: Manager | None = None
        self._children: dict[JobProcess, UnderWay] = {}
        self._waiting: dict[int, _Wait] = {}
        self._unused: frozenset[str] = frozenset()
        self._timer: asyncio.TimerHandle | None = None
        self._trouble = ""
        """Why the store cannot be read: then there is no manager."""

    @staticmethod
    def prepare(plan: Plan, serves: bool) -> None:
        """Makes and checks the plan's store, and its certificates there. FairleadError when they cannot be used.

        `serves`: the plan serves already. Then a folder or file that went bad is no reason to leave its processes unreplaced.
        """
        if serves or not plan.https.certificates:
            return
        store = _store(plan)
        for one in plan.https.certificates:
            store.check_certificate(one.key)

    def serve(self, plan: Plan, under_way: Iterable[Job] = ()) -> None:
        """From now on these certificates: `plan` is the one that serves. `under_way`: jobs that the program before has begun.

        When the store cannot be read, it is tried again, until it can be or another plan serves.
        """
        identity, trouble = _identity(plan), self._trouble
        if (plan.https, identity) == (self._https, self._identity) and not trouble:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._https, self._identity, self._manager, self._trouble = plan.https, identity, None, ""
        self._refuse_waiting("the configuration has changed")
        if plan.https.certificates:
            try:
                self._begin(plan, under_way)
            except (FairleadError, OSError) as error:
                self._trouble = str(error)
                if self._trouble != trouble:
                    effect = f"no certificate is renewed until it can be read; tried every {_AGAIN:.0f} s"
                    self._log.error("certificate.failed", cause=str(error), effect=effect)
                self._timer = asyncio.get_running_loop().call_later(_AGAIN, self.serve, plan)
                return
            if trouble:
                self._log.info("certificate.store_readable", store=plan.https.store)
                for one in plan.https.certificates:
                    self._swap(one.key)  # the workers could not read it either
        self._look()

    def _begin(self, plan: Plan, under_way: Iterable[Job]) -> None:
        store = _store(plan)
        states = {one.key: store.state(one.key) for one in plan.https.certificates}
        self._say_unused(set(store.keys()) - set(states))
        running = [job.agent for job in self._children.values() if job.agent]
        self._manager = Manager(plan.https, states, self._identity, [*running, *under_way])

    def held(self) -> list["HeldJob"]:
        """The agents and hooks under way, for the program that takes this one's place."""
        found = ((child.held(), job) for child, job in self._children.items())
        return [HeldJob(process, job.agent, job.hook, job.results[-1:]) for process, job in found if process]

    def hand_over(self) -> None:
        """This program ends here: those who wait are told."""
        queued = self._manager is not None and any(self._manager.is_wanted(one.key) for one in self._https.certificates)
        rest = "; what had not begun is to be asked for again" if queued else ""
        self._refuse_waiting(
            f"an upgrade of Fairlead has begun; `fairlead certs` shows how the work under way ends{rest}"
        )

    def take_over(self, plan: Plan | None, held: list["HeldJob"]) -> None:
        """Goes on with the program before's agents and hooks; `plan` is the one that serves, None when none does."""
        if plan is not None:
            self.serve(plan, [job.agent for job in held if job.agent])
        for job in held:
            self._watch(UnderWay(job.agent, job.hook, job.results), job.process)

    def report(self) -> list[dict[str, object]]:
        """What status shows."""
        if self._manager is None and self._trouble:
            return [_trouble_of(one, self._trouble) for one in self._https.certificates]
        return self._manager.report(time.time()) if self._manager else []

    def ask(self, client: int, action: str, name: str | None, force: bool) -> None:
        """Somebody wants a certificate obtained or revoked; answered when that has come to an end."""
        verb = "renew" if action == "obtain" else action
        if self._manager is None:
            cause = self._trouble or "HTTPS is off, or nothing serves yet"
            self._tell(Reply(client, error=f"cannot {verb} a certificate: {cause}"))
            return
        keys = self._manager.request(action, name, force)
        if not keys:
            known = ", ".join(plan.title for plan in self._https.certificates)
            self._tell(Reply(client, error=f"cannot {verb} {name}: there is no such certificate; allowed: {known}"))
            return
        self._waiting[client] = _Wait(set(keys))
        self._look()

    def reaped(self, pid: int) -> None:
        """A child is gone."""
        for child in list(self._children):
            if child.reaped(pid):
                return

    async def stop(self, patience: float = 3.0) -> None:
        """Ends what is under way: agents take their challenges away."""
        self._manager = None
        if self._timer is not None:
            self._timer.cancel()
        for child in self._children:
            child.stop()
        end = time.monotonic() + patience
        while self._children and time.monotonic() < end:  # noqa: ASYNC110 - rare and short
            await asyncio.sleep(0.02)
        for child in self._children:
            child.kill()

    # the decisions

    def _look(self) -> None:
        if self._manager is None:
            return
        now = time.time()
        stamps = {plan.key: files.stamp(plan) for plan in self._https.certificates if plan.source == "files"}
        self._act(self._manager.tick(now, stamps))
        if self._timer is not None:
            self._timer.cancel()
        wait = max(_SOONEST, self._manager.wake_after(now))
        self._timer = asyncio.get_running_loop().call_later(wait, self._look)

    def _act(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case StartAgent(job):
                    self._start_agent(job)
                case Swap(key):
                    self._swap(key)
                case Event(name, key, names, text):
                    self._log.write(
                        _LEVELS[name], f"certificate.{name}", {"key": key, "names": list(names), "text": text}
                    )
                    self._run_hook(name, names, text)

    def _start_agent(self, job: Job) -> None:
        self._watch(UnderWay(agent=job))

    def _watch(self, job: "UnderWay", process: HeldProcess | None = None) -> None:
        """Looks after a job to its end. `process`: the one that is at it already."""

        def line(text: str) -> None:
            if job.agent:
                self._agent_said(job.agent, job.results, text)

        def done(errors: str) -> None:
            self._children.pop(child, None)
            if job.agent is None:
                if errors:
                    self._log.error("certificate.hook_failed", cause=errors)
                return
            if errors:
                self._log.warning("certificate.agent", key=job.agent.certificate.key, text=errors)
            manager = self._manager
            if manager is not None and manager.is_running(job.agent):
                result = job.results[-1] if job.results else None
                self._act(manager.agent_ended(job.agent, result, time.time()))
                if not manager.is_wanted(job.agent.certificate.key):
                    self._answer_waiting(job.agent, result)
                self._look()

        child = JobProcess(process, line, done) if process else JobProcess.start(*job.order(), line, done)
        self._children[child] = job

    def _agent_said(self, job: Job, results: list[Result], line: str) -> None:
        try:
            said: dict[str, Any] = json.loads(line)
            if "result" in said:
                results.append(from_json(Result, json.dumps(said["result"])))
            else:
                self._log.debug("certificate.stage", key=job.certificate.key, stage=said["stage"])
                for client, wait in self._waiting.items():
                    if job.asked and job.certificate.key in wait.keys:
                        self._tell(Progress(client, f"{job.certificate.title}: {said['stage']}"))
        except (ValueError, TypeError, KeyError):
            self._log.warning("certificate.agent", key=job.certificate.key, text=line)

    def _run_hook(self, event: str, names: tuple[str, ...], text: str) -> None:
        if not self._https.hook:
            return
        self._watch(UnderWay(hook=HookOrder(event, names, text, self._https.hook, _HOOK_TIMEOUT, self._identity)))

    # those who wait

    def _answer_waiting(self, job: Job, result: Result | None) -> None:
        if not job.asked:
            return
        for client, wait in list(self._waiting.items()):
            if job.certificate.key in wait.keys:
                wait.keys.discard(job.certificate.key)
                wait.take(job, result)
                if not wait.keys:
                    del self._waiting[client]
                    self._tell(Reply(client, error="; ".join(wait.errors), result={"certificates": wait.ends}))

    def _refuse_waiting(self, cause: str) -> None:
        for client in self._waiting:
            self._tell(Reply(client, error=f"cannot finish: {cause}"))
        self._waiting.clear()

    def _say_unused(self, keys: set[str]) -> None:
        if new := keys - self._unused:
            self._log.info(
                "certificate.unused", keys=sorted(new), effect="the configuration does not name them: left alone"
            )
        self._unused |= keys


@dataclass(frozen=True, slots=True)
class UnderWay:
    """What a process is at, for an agent or a hook, and the results that it told."""

    agent: Job | None = None
    hook: HookOrder | None = None
    results: list[Result] = field(default_factory=list)

    def order(self) -> tuple[str, str, float]:
        """The module, what it is told, and the seconds it has."""
        if self.agent is not None:
            return "fairlead.https.agent", to_json(self.agent), self.agent.https.timeout + _GRACE
        return "fairlead.https.hook", to_json(self.hook), _HOOK_TIMEOUT + _GRACE


@dataclass(frozen=True, slots=True)
class HeldJob:
    """The same as it goes over to another program, with its process."""

    process: HeldProcess
    agent: Job | None = None
    hook: HookOrder | None = None
    results: list[Result] = field(default_factory=list)


class _Wait:
    """Whom a client waits for, and how those that came to an end did."""

    def __init__(self, keys: set[str]) -> None:
        self.keys = keys
        self.ends: list[dict[str, object]] = []
        self.errors: list[str] = []

    def take(self, job: Job, result: Result | None) -> None:
        """One has come to its end."""
        verb = "revoke" if job.action == "revoke" else "renew"
        if result is None or result.outcome in ("failed", "lost"):
            cause = result.error if result else "the certificate agent died"
            what = f"cannot {verb} {job.certificate.title}: "
            self.errors.append(what + cause.removeprefix(what))
        else:
            end = {"names": list(job.certificate.names or result.state.names), "outcome": result.outcome}
            self.ends.append({**end, "not_after": result.state.not_after or None})


def _trouble_of(plan: CertificatePlan, trouble: str) -> dict[str, object]:
    """What status shows of a certificate that nothing is known of."""
    unknown = {"issuer": "", "not_after": None, "next_attempt": None}
    return {"names": list(plan.names), "source": plan.source, "state": "failing", "last_error": trouble, **unknown}


def _store(plan: Plan) -> Store:
    return Store.open(plan.https.store, plan.identity.uid if plan.identity else os.geteuid())


def _identity(plan: Plan) -> tuple[int, ...]:
    return (plan.identity.uid, plan.identity.gid, *plan.identity.groups) if plan.identity else ()
