import pytest

from fairlead.config.load import load
from fairlead.config.settings import Settings
from fairlead.errors import InputError
from fairlead.steps.policy import Step, deadline, is_due, lock_patience, pause_before, pending
from fairlead.steps.settings import StepSettings

MIGRATE = Step("migrate", ("alembic", "upgrade", "head"))
SEED = Step("seed", ("seed",), when="start")


def test_step_runs_once_for_a_release_and_one_of_each_start_always():
    assert pending((MIGRATE, SEED), "new", {}) == [MIGRATE, SEED]
    assert pending((MIGRATE, SEED), "new", {"migrate": "new", "seed": "new"}) == [SEED]


def test_going_back_to_code_of_before_is_a_new_release():
    assert is_due(MIGRATE, "first", "second")


def test_pauses_between_tries_double_up_to_half_a_minute():
    assert [pause_before(retry) for retry in (1, 2, 3, 7)] == [1, 2, 4, 30]


def test_waiting_for_another_process_lasts_longer_than_it_may_take():
    steps = (Step("a", ("a",), timeout=10, retries=2), Step("b", ("b",), timeout=1))
    longest = 3 * 10 + 1 + 2 + 1
    assert lock_patience(steps) > longest
    assert deadline(steps) > lock_patience(steps) + longest


def test_settings_become_plain_data_with_their_secrets():
    settings = StepSettings.model_validate(
        {"name": "m", "run": "a b", "env": {"K": "v"}, "lock": "postgresql://u:secret@h/d", "timeout": "2s"}
    )
    assert settings.plan() == Step("m", ("a", "b"), 2.0, 0, (("K", "v"),), "release", "postgresql://u:secret@h/d")
    assert "secret" not in repr(settings)


@pytest.mark.parametrize(
    ("toml", "told"),
    [
        ("[[steps]]\nname = 'a'", "steps[0].run: missing"),
        ("[[steps]]\nname = 'a'\nrun = 'a && b'", "the shell's &&"),
        ("[[steps]]\nname = 'a'\nrun = 'a'\nwhen = 'never'", "steps[0].when"),
        ("[[steps]]\nname = 'a'\nrun = 'a'\nlock = 'mysql://x'", "postgresql://"),
        ("[[steps]]\nname = 'a'\nrun = 'a'\nlock = 'postgresql://u:s@cret@h/d'", "written %40"),
        ("[[steps]]\nname = 'a'\nrun = 'a'\nlock = 'postgresql://u:s/cret@h/d'", "written %40"),
        ("[[steps]]\nname = 'a'\nrun = 'a'\nlock = 'postgresql://u:s%cret@h/d'", "written %40"),
        ("[[steps]]\nname = 'a'\nrun = 'a'\nlock = 'postgresql://u:s3 cret@h/d'", "written %40"),
        ("[[steps]]\nname = 'a'\nrun = 'a'\nlock = 'postgresql://u:12/sec?ret@h/d'", "written %40"),
        ("[[steps]]\nname = 'a'\nrun = 'a'\n[[steps]]\nname = 'a'\nrun = 'b'", "two are named a"),
        ("[[steps]]\nname = 'a'\nrun = 'a'\nenv = {'A=B' = 'cret'}", "no name of a variable; allowed"),
        ('[[steps]]\nname = "a"\nrun = "a"\nenv = {A = "cret\\u0000"}', "the value of A has a NUL"),
        ("[[companions]]\nname = 'a'\nrun = 'a'\nenv = {'' = 'cret'}", "no name of a variable; allowed"),
        ("[[steps]]\nname = 'a'\nrun = 'a'\ntimeot = 3", "did you mean timeout"),
    ],
)
def test_mistakes_in_steps_are_told(tmp_path, toml, told):
    (tmp_path / "fairlead.toml").write_text(toml)
    with pytest.raises(InputError) as caught:
        load(tmp_path, {}, {})
    assert told in str(caught.value)
    assert "fairlead.toml" in str(caught.value)
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize("rest", ["u:p%40ss@h:5432/d?x=a@b", "[::1]:5432,h2:1/d", "/d?host=/run/postgresql", "u@h"])
def test_addresses_that_postgresql_knows_are_taken(rest):
    step = StepSettings.model_validate({"name": "m", "run": "a", "lock": f"postgresql://{rest}"})
    assert step.plan().lock == f"postgresql://{rest}"


def test_there_are_no_steps_by_default():
    assert Settings().steps == []
