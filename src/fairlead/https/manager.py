"""Which certificate needs what, and when: the part of HTTPS that the supervisor embeds.

A state machine without a clock, files or processes. The supervisor calls `tick` (at least every `wake_after` seconds),
starts a certificate agent for each `StartAgent`, and gives back its end with `agent_ended`; what comes back from each call is a list of
actions. Standard library only.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from fairlead.https import policy
from fairlead.https.model import CertificatePlan, CertificateState, HttpsPlan, Job, Result
from fairlead.lean_dataclass import dataclass

MAX_AGENTS = 2
"""Agents at a time: one that waits for a slow authority does not hold up the rest, and each takes 40 MB."""
_WAKE_MAX = 60.0
"""Wall clocks jump and machines sleep, so no wait is longer than this."""
_FILES_INTERVAL = 5.0


@dataclass(frozen=True, slots=True)
class Action:
    """Base of what the supervisor is asked to do."""


@dataclass(frozen=True, slots=True)
class StartAgent(Action):
    """Run `python -P -m fairlead.https.agent` with this job on its standard input."""

    job: Job


@dataclass(frozen=True, slots=True)
class Swap(Action):
    """Every worker has to take the certificate from the store again."""

    key: str


@dataclass(frozen=True, slots=True)
class Event(Action):
    """Write this to the log; each is also what the hook command is run for."""

    name: str
    key: str
    names: tuple[str, ...]
    text: str


class Manager:
    """The certificates of one plan. `states` is what the store said at the start, by key; `under_way`: jobs whose agents
    run already, and whose ends will come here: those of the plan before, or of the program before."""

    def __init__(
        self,
        https: HttpsPlan,
        states: Mapping[str, CertificateState],
        identity: tuple[int, ...] = (),
        under_way: Iterable[Job] = (),
    ) -> None:
        self._https = https
        self._identity = identity
        self._plans = {plan.key: plan for plan in https.certificates}
        self._states = {key: states.get(key, CertificateState()) for key in self._plans}
        self._running: dict[str, Job] = {
            job.certificate.key: job for job in under_way if job.certificate.key in self._plans
        }
        self._wanted: dict[str, Job] = {}
        self._told: dict[str, str] = {}

    def tick(self, now: float, stamps: Mapping[str, str] | None = None) -> list[Action]:
        """What to do now. `stamps`: for each certificate from files, `files.stamp` of its plan."""
        actions: list[Action] = []
        for key in self._plans:
            actions += self._alarms(key, now)
        for key, plan in self._plans.items():
            if len(self._running) >= MAX_AGENTS:
                break
            job = self._next_job(plan, now, stamps or {})
            if job and key not in self._running:
                self._running[key] = job
                self._wanted.pop(key, None)
                actions.append(StartAgent(job))
        return actions

    def wake_after(self, now: float) -> float:
        """Seconds until the next `tick` is worth while, at most a minute. The end of an agent and a request are worth one, too."""
        if len(self._running) >= MAX_AGENTS:
            return _WAKE_MAX
        waits = [self._wait(plan, now) for key, plan in self._plans.items() if key not in self._running]
        return max(0.0, min(waits, default=_WAKE_MAX))

    def _wait(self, plan: CertificatePlan, now: float) -> float:
        state = self._states[plan.key]
        if plan.source == "files":
            return _FILES_INTERVAL
        wait = min(_WAKE_MAX, policy.attempt_time(plan, self._https.issuers, state, now) - now)
        return min(wait, state.ari_check - now) if state.ari_check and now < state.not_after else wait

    def agent_ended(self, job: Job, result: Result | None, now: float) -> list[Action]:
        """The agent of `job` has ended. `result` None: it was killed or wrote no result."""
        key = job.certificate.key
        if not self.is_running(job):
            return []
        del self._running[key]
        if result is None or result.outcome == "lost":
            result = self._lost(job, now, result.error if result else "the certificate agent died")
        self._states[key] = result.state
        if result.outcome == "failed" and job.asked and job.action == "obtain" and self._others_follow(job, result):
            # By the configuration of now: the agent may have begun under another one.
            again = Job("obtain", self._plans[key], self._https, True, job.force, self._identity)
            self._wanted.setdefault(key, again)
        actions: list[Action] = []
        if result.outcome in ("obtained", "unchanged"):
            actions.append(Swap(key))
        if result.outcome in ("obtained", "revoked", "failed"):
            actions.append(Event(result.outcome, key, job.certificate.names, _story(result)))
        return actions + self._alarms(key, now)

    def is_running(self, job: Job) -> bool:
        """Whether the end of the job's agent belongs here."""
        return self._running.get(job.certificate.key) is job

    def is_wanted(self, key: str) -> bool:
        """Whether a job that a person wants is still to begin: its end is the one to tell."""
        return key in self._wanted

    def request(self, action: str, name: str | None, force: bool = False) -> list[str]:
        """Asks for a job (obtain or revoke) for the certificates with `name`, None for all. Returns their keys, empty: none.

        A person who asks does not wait for a back-off; without `force` what is not due is found unchanged.
        """
        chosen = [plan for plan in self._plans.values() if name is None or name == plan.key or name in plan.names]
        for plan in chosen:
            self._wanted[plan.key] = Job(action, plan, self._https, True, force, self._identity)
            state = self._states[plan.key]
            self._states[plan.key] = replace(state, next_attempt=0.0, blocked=())
        return [plan.key for plan in chosen]

    def report(self, now: float) -> list[dict[str, object]]:
        """What status shows of each certificate."""
        return [self._report(plan, self._states[key], now) for key, plan in self._plans.items()]

    def _next_job(self, plan: CertificatePlan, now: float, stamps: Mapping[str, str]) -> Job | None:
        state = self._states[plan.key]
        if plan.key in self._wanted:
            return self._wanted[plan.key]
        obtain = Job("obtain", plan, self._https, identity=self._identity)
        if plan.source == "files":
            waits = state.last_attempt <= now < state.next_attempt
            return obtain if not waits and stamps.get(plan.key, state.stamp) != state.stamp else None
        if policy.attempt_time(plan, self._https.issuers, state, now) <= now:
            return obtain
        if 0 < state.ari_check <= now < state.not_after:
            return replace(obtain, action="ari")
        return None

    def _others_follow(self, job: Job, result: Result) -> bool:
        """Whether there are issuers that have not had their turn since the first failed; as in policy.failed."""
        return job.certificate.source == "acme" and result.state.failures % max(1, len(self._https.issuers)) > 0

    def _lost(self, job: Job, now: float, error: str) -> Result:
        """What the agent wrote before its order, worked out again: the store may have been unwritable."""
        state = self._states[job.certificate.key]
        if job.action == "ari":
            return Result("advised", replace(state, ari_check=now + policy.ARI_INTERVAL))
        state = replace(policy.begun(state, now, self._https.issuers), last_error=error)
        return Result("failed", state, error)

    def _alarms(self, key: str, now: float) -> list[Action]:
        plan, state = self._plans[key], self._states[key]
        condition = policy.condition(plan.source, state, now)
        if self._told.get(key) == condition:
            return []
        self._told[key] = condition
        if condition not in policy.ALARMS:
            return []
        left = state.not_after - now
        text = f"{plan.title}: {condition}, {left / 3600:.1f} hours left; last error: {state.last_error or 'none'}"
        return [Event(condition, key, plan.names, text)]

    def _report(self, plan: CertificatePlan, state: CertificateState, now: float) -> dict[str, object]:
        return {
            "names": list(plan.names or state.names),
            "issuer": state.issuer,
            "not_after": state.not_after or None,
            "source": plan.source,
            "state": policy.condition(plan.source, state, now),
            "next_attempt": self._next_attempt(plan, state, now),
            "last_error": state.last_error,
        }

    def _next_attempt(self, plan: CertificatePlan, state: CertificateState, now: float) -> float | None:
        if plan.source == "files":
            return None
        return max(now, policy.attempt_time(plan, self._https.issuers, state, now))


def _story(result: Result) -> str:
    names = ", ".join(result.state.names)
    if result.outcome == "failed":
        return result.error
    return f"{names} from {result.state.issuer}" if names else result.outcome
