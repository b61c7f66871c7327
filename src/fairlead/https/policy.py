"""When to renew, with whom, and how long to wait after a failure. Pure decisions: the caller brings clock and chance."""

from collections.abc import Sequence
from dataclasses import replace

from fairlead.https.model import CertificatePlan, CertificateState, Issuer

_MINUTES = (1, 2, 2, 5, 10, 10, 10, 20, 20, 20, 20, 30, 30, 30, 30, 60, 60, 60, 60, 120, 120, 180, 360)
_RETRY_AFTER_MAX = 86400.0
"""An issuer that asks for more than a day is asked again after a day: the header may be nonsense."""
ARI_INTERVAL = 6 * 3600.0
_ARI_INTERVAL_MIN = 60.0


def backoff(failures: int, lifetime: float = 0.0) -> float:
    """Seconds to wait after the `failures`-th failure in a row: one minute, growing to six hours.

    Never more than a tenth of the lifetime of the certificate at stake: one failure must not outlast a short one.
    """
    if failures <= 0:
        return 0.0
    delay = 60.0 * _MINUTES[min(failures, len(_MINUTES)) - 1]
    return min(delay, lifetime / 10) if lifetime > 0 else delay


def renew_time(state: CertificateState) -> float:
    """When the certificate is to be renewed: the issuer's advice, else at a third of the lifetime left.

    The advice is never trusted alone: with less than a twentieth of the lifetime left it is overridden.
    0 without a certificate, and for a revoked one.
    """
    if not state.not_after or state.revoked:
        return 0.0
    if state.ari_time:
        return min(state.ari_time, state.not_after - state.lifetime / 20)
    return state.not_after - state.lifetime / 3


def attempt_time(plan: CertificatePlan, issuers: Sequence[Issuer], state: CertificateState, now: float) -> float:
    """When the next attempt to obtain may start; at or before `now` means now.

    The wait after a failure counts only from its own beginning: a clock set back does not freeze renewals.
    """
    known = {issuer.directory_url for issuer in issuers}
    stranger = plan.source == "acme" and state.not_after > 0 and state.directory not in known
    wanted = 0.0 if stranger else renew_time(state)
    if state.last_attempt <= now < state.next_attempt:
        return max(wanted, state.next_attempt)
    return wanted


def choose_issuer(issuers: Sequence[Issuer], state: CertificateState, now: float) -> Issuer:
    """Whose turn it is: the list in order, one further with each failure, leaving out those that said Retry-After.

    Where all of them did, the one whose time comes first.
    """
    turn = state.failures % len(issuers)
    blocked = dict(state.blocked)
    in_turn = [*issuers[turn:], *issuers[:turn]]
    free = [issuer for issuer in in_turn if blocked.get(issuer.directory_url, 0.0) <= now]
    return free[0] if free else min(in_turn, key=lambda issuer: blocked[issuer.directory_url])


def failed(
    state: CertificateState,
    now: float,
    error: str,
    issuers: Sequence[Issuer] = (),
    issuer: Issuer | None = None,
    retry_after: float = 0.0,
) -> CertificateState:
    """The state after a failed attempt. Each issuer has its turn before the first wait; then the waits grow by rounds."""
    failures = state.failures + 1
    blocked = {directory: until for directory, until in state.blocked if until > now}
    if issuer and retry_after > 0:
        blocked[issuer.directory_url] = now + min(retry_after, _RETRY_AFTER_MAX)
    rounds, rest = divmod(failures, max(1, len(issuers)))
    next_attempt = now if rest else now + backoff(rounds, state.lifetime)
    if issuers and all(blocked.get(one.directory_url, 0.0) > now for one in issuers):
        next_attempt = max(next_attempt, min(blocked.values()))
    return replace(
        state,
        failures=failures,
        last_attempt=now,
        next_attempt=next_attempt,
        last_error=error,
        blocked=tuple(sorted(blocked.items())),
    )


def begun(state: CertificateState, now: float, issuers: Sequence[Issuer]) -> CertificateState:
    """What is written before an order is placed: the attempt counted as failed, until its end is written over it.

    An attempt that is killed leaves this behind, so that a service that crashes and starts again waits like any other.
    """
    state = failed(state, now, "the attempt did not come to its end", issuers)
    return replace(state, next_attempt=max(state.next_attempt, now + backoff(1, state.lifetime)))


def retry_uses_staging(state: CertificateState, issuer: Issuer) -> bool:
    """Whether an attempt asks the issuer's staging directory first: on every retry."""
    return state.failures > 0 and bool(issuer.staging_url)


def may_replace(state: CertificateState, issuer: Issuer) -> bool:
    """Whether an order names the certificate it replaces: only to its own issuer, only on the first try.

    An issuer refuses a second order that replaces the same one, so a retry that kept the field could never succeed.
    """
    return state.failures == 0 and state.not_after > 0 and state.directory == issuer.directory_url


def advised(
    state: CertificateState, now: float, start: float, end: float, retry_after: float, chance: float
) -> CertificateState:
    """The state with the issuer's renewal window. The moment in it is chosen once and kept while the window stays.

    `chance` in [0, 1). `retry_after`: seconds until the issuer wants to be asked again, 0 for our own interval.
    """
    wait = max(_ARI_INTERVAL_MIN, min(retry_after or ARI_INTERVAL, _RETRY_AFTER_MAX))
    if (start, end) == (state.ari_start, state.ari_end) and state.ari_time:
        return replace(state, ari_check=now + wait)
    if not start < end:
        return replace(state, ari_start=0.0, ari_end=0.0, ari_time=0.0, ari_check=now + wait)
    moment = start + chance * (end - start)
    return replace(state, ari_start=start, ari_end=end, ari_time=moment, ari_check=now + wait)


def condition(source: str, state: CertificateState, now: float) -> str:
    """One word for status: missing, revoked, expired, expiring (little is left and no renewal came), failing, renewing, valid."""
    if not state.not_after:
        return "missing"
    if state.revoked:
        return "revoked"
    if now >= state.not_after:
        return "expired"
    overdue = now - renew_time(state)
    if state.not_after - now < state.lifetime / 5 and (state.failures or overdue > state.lifetime / 50):
        return "expiring"
    if state.failures:
        return "failing"
    return "renewing" if overdue >= 0 and source != "files" else "valid"


ALARMS = ("expired", "expiring")
"""The conditions that a person must be told of."""
