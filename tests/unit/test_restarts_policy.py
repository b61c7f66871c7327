"""Back-off: at once, then doubling to the cap, with jitter."""

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from fairlead.restarts.policy import RestartPolicy
from fairlead.restarts.settings import RestartSettings
from fairlead.startup.policy import StartupPolicy
from fairlead.startup.settings import StartupSettings


@given(st.integers(0, 10**6), st.floats(0, 1, exclude_max=True))
def test_back_off_stays_within_a_quarter_of_its_cap(deaths: int, chance: float) -> None:
    policy = RestartPolicy(backoff_initial=0.5, backoff_max=30)
    assert 0 <= policy.backoff(deaths, chance) <= 30 * 1.25


def test_back_off_begins_at_nothing_and_doubles() -> None:
    policy = RestartPolicy(backoff_initial=1, backoff_max=10)
    assert [policy.backoff(deaths, 0.5) for deaths in range(1, 7)] == [0, 1, 2, 4, 8, 10]


def test_policies_and_settings_name_the_same_things() -> None:
    for_service = {"environment_file", "credentials", "writable"}  # what only whoever installs the service needs
    for policy, settings in ((RestartPolicy, RestartSettings), (StartupPolicy, StartupSettings)):
        assert {field.name for field in dataclasses.fields(policy)} == set(settings.model_fields) - for_service


def test_the_drain_deadline_is_beyond_every_deadline_of_the_worker() -> None:
    policy = RestartPolicy(drain_timeout=3, idle_grace=9, stream_spread=4)
    assert policy.drain_deadline > 9
