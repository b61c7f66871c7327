"""When to renew, with whom, and how long to wait."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.https import policy
from fairlead.https.model import CertificatePlan, CertificateState, Issuer

DAY = 86400.0
ONE, TWO = (
    Issuer("one", "https://one.test/dir"),
    Issuer("two", "https://two.test/dir", staging_url="https://two.test/try"),
)
PLAN = CertificatePlan("acme", ("a.test",))
VALID = CertificateState(("a.test",), "One", ONE.directory_url, not_before=0.0, not_after=90 * DAY)


@pytest.mark.parametrize("lifetime", [20.0, 3600.0, 6 * DAY, 45 * DAY, 90 * DAY, 400 * DAY])
def test_renewal_is_due_at_a_third_of_any_lifetime(lifetime: float) -> None:
    state = CertificateState(("a.test",), not_before=1000.0, not_after=1000.0 + lifetime)
    assert policy.renew_time(state) == pytest.approx(1000.0 + lifetime * 2 / 3)


def test_advice_moves_the_renewal_but_is_overridden_when_little_is_left() -> None:
    assert policy.renew_time(replace(VALID, ari_time=10 * DAY)) == 10 * DAY
    assert policy.renew_time(replace(VALID, ari_time=80 * DAY)) == 80 * DAY
    assert policy.renew_time(replace(VALID, ari_time=400 * DAY)) == pytest.approx(90 * DAY * 19 / 20)


def test_moment_in_the_window_is_chosen_once_and_kept_while_the_window_stays() -> None:
    first = policy.advised(VALID, 5.0, 100.0, 200.0, 0.0, 0.25)
    assert (first.ari_time, first.ari_check) == (125.0, 5.0 + policy.ARI_INTERVAL)
    again = policy.advised(first, 50.0, 100.0, 200.0, 3600.0, 0.75)
    assert (again.ari_time, again.ari_check) == (125.0, 3650.0)
    assert policy.advised(again, 60.0, 100.0, 300.0, 0.0, 0.75).ari_time == 250.0


def test_window_that_ends_before_it_begins_is_no_advice() -> None:
    state = policy.advised(replace(VALID, ari_time=7.0), 5.0, 200.0, 100.0, 0.0, 0.5)
    assert (state.ari_time, state.ari_start) == (0.0, 0.0)
    assert policy.renew_time(state) == 60 * DAY


@pytest.mark.parametrize(("asked", "waited"), [(0.001, 60.0), (1e12, DAY), (7200.0, 7200.0)])
def test_time_to_ask_for_advice_again_is_bounded(asked: float, waited: float) -> None:
    assert policy.advised(VALID, 0.0, 1.0, 2.0, asked, 0.5).ari_check == waited


def test_back_off_grows_from_one_minute_to_six_hours() -> None:
    minutes = [policy.backoff(failures) / 60 for failures in range(1, 9)]
    assert minutes == [1, 2, 2, 5, 10, 10, 10, 20]
    assert policy.backoff(10**9) == 6 * 3600.0
    assert policy.backoff(0) == 0.0


def test_back_off_never_outlasts_a_tenth_of_a_short_certificate() -> None:
    assert policy.backoff(1, 20.0) == 2.0
    assert policy.backoff(5, 90 * DAY) == 600.0


def test_failure_waits_and_keeps_the_certificate_as_it_is() -> None:
    state = policy.failed(VALID, 61 * DAY, "no", (ONE,), ONE)
    assert (state.failures, state.next_attempt, state.last_error) == (1, 61 * DAY + 60, "no")
    assert (state.not_after, state.serial) == (VALID.not_after, VALID.serial)
    assert policy.attempt_time(PLAN, (ONE,), state, 61 * DAY + 1) == 61 * DAY + 60


def test_clock_set_back_does_not_freeze_renewals() -> None:
    state = policy.failed(CertificateState(), 1000 * DAY, "no", (ONE,), ONE)
    assert policy.attempt_time(PLAN, (ONE,), state, 10 * DAY) <= 10 * DAY


def test_every_issuer_has_its_turn_before_the_first_wait() -> None:
    state = policy.failed(CertificateState(), 0.0, "no", (ONE, TWO), ONE)
    assert state.next_attempt == 0.0
    assert policy.choose_issuer((ONE, TWO), state, 0.0) is TWO
    state = policy.failed(state, 1.0, "no", (ONE, TWO), TWO)
    assert state.next_attempt == 61.0
    assert policy.choose_issuer((ONE, TWO), state, 61.0) is ONE


def test_issuer_that_said_retry_after_is_left_out_until_then() -> None:
    state = policy.failed(CertificateState(), 0.0, "slow down", (ONE, TWO), ONE, retry_after=7200.0)
    state = policy.failed(state, 1.0, "no", (ONE, TWO), TWO)
    assert policy.choose_issuer((ONE, TWO), state, 61.0) is TWO
    assert policy.choose_issuer((ONE, TWO), replace(state, failures=4), 7201.0) is ONE


def test_when_all_issuers_said_retry_after_the_earliest_is_waited_for() -> None:
    state = policy.failed(CertificateState(), 0.0, "no", (ONE, TWO), ONE, retry_after=7200.0)
    state = policy.failed(state, 0.0, "no", (ONE, TWO), TWO, retry_after=3600.0)
    assert state.next_attempt == 3600.0
    assert policy.choose_issuer((ONE, TWO), state, 100.0) is TWO


def test_retry_after_of_years_is_a_day() -> None:
    assert policy.failed(CertificateState(), 0.0, "no", (ONE,), ONE, retry_after=1e9).next_attempt == DAY


def test_attempt_that_begins_counts_as_failed_and_waits_whoever_would_be_next() -> None:
    state = policy.begun(CertificateState(), 0.0, (ONE, TWO))
    assert (state.failures, state.next_attempt) == (1, 60.0)


def test_staging_is_asked_first_on_retries_where_there_is_one() -> None:
    assert not policy.retry_uses_staging(CertificateState(), TWO)
    assert policy.retry_uses_staging(CertificateState(failures=1), TWO)
    assert not policy.retry_uses_staging(CertificateState(failures=1), ONE)


def test_order_replaces_only_at_its_own_issuer_and_on_the_first_try() -> None:
    assert policy.may_replace(VALID, ONE)
    assert not policy.may_replace(VALID, TWO)
    assert not policy.may_replace(replace(VALID, failures=1), ONE)
    assert not policy.may_replace(CertificateState(), ONE)


def test_certificate_of_an_issuer_that_is_no_longer_configured_is_due_at_once() -> None:
    assert policy.attempt_time(PLAN, (TWO,), VALID, 1.0) == 0.0
    assert policy.attempt_time(PLAN, (ONE, TWO), VALID, 1.0) == 60 * DAY


@pytest.mark.parametrize(
    ("source", "change", "now", "condition"),
    [
        ("acme", {"not_after": 0.0}, 0.0, "missing"),
        ("acme", {}, DAY, "valid"),
        ("acme", {}, 60 * DAY + 1, "renewing"),
        ("files", {}, 60 * DAY + 1, "valid"),
        ("acme", {"failures": 3}, 62 * DAY, "failing"),
        ("acme", {"failures": 3}, 80 * DAY, "expiring"),
        ("files", {}, 80 * DAY, "expiring"),
        ("acme", {"ari_time": 85 * DAY}, 80 * DAY, "valid"),
        ("acme", {"failures": 3}, 90 * DAY, "expired"),
        ("acme", {"revoked": True}, DAY, "revoked"),
    ],
)
def test_condition_says_what_a_person_needs_to_know(
    source: str, change: dict[str, object], now: float, condition: str
) -> None:
    assert policy.condition(source, replace(VALID, **change), now) == condition


@given(
    st.lists(st.tuples(st.sampled_from([ONE, TWO]), st.floats(0, 1e7)), max_size=60),
    st.floats(1.0, 1e8),
)
def test_failures_in_any_order_never_stop_the_attempts_for_longer_than_a_day(
    failures: list[tuple[Issuer, float]], lifetime: float
) -> None:
    now, state = 1e9, replace(CertificateState(), not_before=1e9 - lifetime, not_after=1e9)
    for issuer, retry_after in failures:
        state = policy.failed(state, now, "no", (ONE, TWO), issuer, retry_after)
        assert now <= state.next_attempt <= now + DAY
        now = max(now, state.next_attempt)
        assert policy.choose_issuer((ONE, TWO), state, now) in (ONE, TWO)
