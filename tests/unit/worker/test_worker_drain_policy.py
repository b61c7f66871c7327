from hypothesis import given
from hypothesis import strategies as st

from fairlead.restarts.policy import RestartPolicy
from fairlead.worker.drain import Limits, stagger


@given(st.integers(0, 200), st.floats(0, 100), st.floats(0, 0.999))
def test_streams_are_spread_evenly_over_the_whole_time(count: int, spread: float, chance: float) -> None:
    delays = stagger(count, spread, lambda: chance)
    assert len(delays) == count
    assert delays == sorted(delays)
    assert all(0 <= delay <= spread for delay in delays)


def test_two_workers_with_one_stream_each_do_not_tell_them_together() -> None:
    assert stagger(1, 4.0, lambda: 0.25) == [1.0]
    assert stagger(1, 4.0, lambda: 0.75) == [3.0]


def test_limits_are_the_policys_but_nothing_is_spread_at_the_end() -> None:
    policy = RestartPolicy(drain_timeout=30.0, idle_grace=5.0, stream_spread=7.0)
    assert Limits.of(policy, last=False) == Limits(30.0, 5.0, 7.0)
    assert Limits.of(policy, last=True) == Limits(30.0, 5.0, 0.0)
    assert Limits.of(policy, last=False).all == 30.0


def test_limits_can_be_cut_short() -> None:
    assert Limits(30.0, 1.0, 7.0).at_most(5.0) == Limits(5.0, 1.0, 5.0)
