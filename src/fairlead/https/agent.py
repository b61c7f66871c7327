"""The certificate agent: `python -P -m fairlead.https.agent`, a short-lived process that does one job and exits.

A job (`model.Job`, JSON) comes on standard input; lines of JSON go to standard output: {"stage": text} any number of times,
then {"result": model.Result}. The job's end is in the store before it is told. Exit code 0 with a result, else no result.
"""

import contextlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from types import FrameType
from typing import TYPE_CHECKING

from fairlead.errors import FairleadError
from fairlead.host.processes import signal_when_parent_dies
from fairlead.https import files, internal_ca, policy
from fairlead.https.become import become
from fairlead.https.model import CertificateState, Job, Result, from_json
from fairlead.https.pairs import KeyPairError, PairError, check_pair, make_pair, split_pair, tidy_pair
from fairlead.https.store import Store

if TYPE_CHECKING:
    from fairlead.https.ordering import Ordering

Say = Callable[[str], None]


class StoppedError(FairleadError):
    """The deadline has passed, or the agent was told to stop."""


class Run:
    """One job under way. `now` is the wall clock, `chance` in [0, 1) the luck, `loaded` the user's files, if it is about files."""

    def __init__(
        self, job: Job, store: Store, say: Say, now: Callable[[], float], chance: float, loaded: files.Loaded
    ) -> None:
        self.job = job
        self.plan = job.certificate
        self.https = job.https
        self.store = store
        self.say = say
        self.now = now
        self.chance = chance
        self.loaded = loaded

    def do(self) -> Result:
        """The job's end. What goes wrong is in it; only a store that cannot be read raises."""
        key = self.plan.key
        with self.store.lock(f"certificates/{key}/lock"):
            self.store.delete_remains(key)
            # Look again: whoever held the lock may have done the work.
            state = self._known()
            if self.job.action == "ari":
                return self._advise(state)
            if self.job.action == "revoke":
                return self._revoke(state)
            if not self._due(state):
                return Result("unchanged", state)
            return self._obtain(state)

    def _known(self) -> CertificateState:
        """The stored state, corrected by the certificate itself: an agent may have died between writing the two."""
        key = self.plan.key
        state = self.store.state(key)
        pem = self.store.read_pair(key)
        if pem is None:
            return replace(state, names=(), not_before=0.0, not_after=0.0)
        described = split_pair(pem).describe(state)
        if described != state:
            described = replace(described, failures=0, next_attempt=0.0, ari_time=0.0, ari_check=self.now())
            self.store.write_state(key, described)
        return described

    def _due(self, state: CertificateState) -> bool:
        if self.job.force:
            return True
        if self.plan.source == "files":
            return self.loaded.stamp != state.stamp
        if self.job.asked:
            state = replace(state, next_attempt=0.0)
        return policy.attempt_time(self.plan, self.https.issuers, state, self.now()) <= self.now()

    def _obtain(self, state: CertificateState) -> Result:
        try:
            self.store.check_writable(f"certificates/{self.plan.key}")
        except FairleadError as error:
            # Nothing was asked of anybody, so the next issuer has no turn because of it.
            return Result("failed", policy.failed(state, self.now(), str(error)), str(error))
        if self.plan.source == "acme":
            return self._ordering(state).obtain()
        if self.plan.source == "files":
            return self._take_files(state)
        return self._issue(state)

    def _ordering(self, state: CertificateState) -> "Ordering":
        # Imported here: the acme library takes 40 MB, which only one of three sources needs.
        from fairlead.https.ordering import Ordering

        return Ordering(self, state)

    def _issue(self, state: CertificateState) -> Result:
        try:
            # All names that are configured: whichever certificate comes first makes the root, and its limits are for good.
            names = [name for plan in self.https.certificates for name in plan.names]
            internal_ca.root(self.store, names, self.now())
            pair = internal_ca.issue(self.store, self.plan.names, self.https.leaf_lifetime, self.now())
        except FairleadError as error:
            return self.fail(policy.failed(state, self.now(), str(error)))
        self.store.write_pair(self.plan.key, pair.pem)
        return self.succeed(pair.describe(state))

    def _take_files(self, state: CertificateState) -> Result:
        """A bad pair is not looked at again before one of the files changes, so there is no wait after it."""
        loaded, now = self.loaded, self.now()
        try:
            if loaded.error:
                raise PairError(loaded.error)
            pair = tidy_pair(make_pair(loaded.key, loaded.chain))
            described = replace(pair.describe(state), stamp=loaded.stamp)
            # An expired pair is better than none, and than one that expired before it.
            least_bad = state.not_after < described.not_after <= now and state.not_after <= now
            check_pair(pair, self.plan.names, described.not_before if least_bad else now)
        except FairleadError as error:
            file = self.plan.key_file if isinstance(error, KeyPairError) else self.plan.certificate_file
            failed = policy.failed(state, now, loaded.error or f"{file}: {error}")
            return self.fail(replace(failed, stamp=loaded.stamp, next_attempt=now))
        self.store.write_pair(self.plan.key, pair.pem)
        return self.succeed(described)

    def succeed(self, state: CertificateState) -> Result:
        """Remembers a success; the certificate is in the store already."""
        now = self.now()
        state = replace(state, failures=0, last_attempt=now, next_attempt=now, last_error="", blocked=(), revoked=False)
        self.store.write_state(self.plan.key, state)
        return Result("obtained", state)

    def fail(self, state: CertificateState) -> Result:
        """Remembers a failure."""
        self.store.write_state(self.plan.key, state)
        return Result("failed", state, state.last_error)

    def _advise(self, state: CertificateState) -> Result:
        state = self._ordering(state).advised(state)
        self.store.write_state(self.plan.key, state)
        return Result("advised", state)

    def _revoke(self, state: CertificateState) -> Result:
        try:
            self._ordering(state).revoke()
        except FairleadError as error:
            return Result("failed", state, str(error))
        state = replace(state, revoked=True, failures=0, next_attempt=0.0, ari_time=0.0, ari_check=0.0)
        self.store.write_state(self.plan.key, state)
        return Result("revoked", state)


@contextlib.contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """Raises StoppedError after `seconds`, and at SIGTERM, wherever the main thread then is; once."""

    def stop(number: int, _frame: FrameType | None) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise StoppedError(f"no end within {seconds:.0f} seconds" if number == signal.SIGALRM else "told to stop")

    before = {number: signal.signal(number, stop) for number in (signal.SIGALRM, signal.SIGTERM)}
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def _tell(**line: object) -> None:
    # The supervisor may be gone; the work is finished and stored all the same.
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(line), flush=True)


def main() -> int:
    """Reads the job, does it, tells the result."""
    job = from_json(Job, sys.stdin.read())
    owner = job.identity[0] if job.identity else os.geteuid()
    # A key in a file is often root's alone, so the files are read before root is given up.
    loaded = files.load(job.certificate) if job.certificate.source == "files" else files.Loaded("")
    become(job.identity)
    signal_when_parent_dies(signal.SIGTERM)
    try:
        with bounded(job.https.timeout):
            store = Store.open(job.https.store, owner)
            chance = random.random()  # noqa: S311
            result = Run(job, store, lambda stage: _tell(stage=stage), time.time, chance, loaded).do()
    except FairleadError as error:
        result = Result("lost", CertificateState(), str(error))
    _tell(result=asdict(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
