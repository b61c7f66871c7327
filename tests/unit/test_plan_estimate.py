from fairlead.cli.plan import as_data, lines
from fairlead.plan.estimate import Carried, Estimate, Measured, machine_rate

MB = 10**6
MEASURED = Measured(1.5, 0.05, total=120 * MB, private=20 * MB, forks=True, counted=120 * MB)
ESTIMATE = Estimate(MEASURED, usable=1000 * MB, budget=800 * MB, cpus=4.0, wanted=4)


def test_workers_that_fit_and_what_they_hold():
    assert ESTIMATE.shared == 100 * MB
    assert ESTIMATE.fit == 35
    assert ESTIMATE.workers == 4
    assert ESTIMATE.total(4) == 180 * MB


def test_budget_decides_where_workers_are_large():
    large = Estimate(Measured(1, 1, 400 * MB, 300 * MB, True, 400 * MB), 1000 * MB, 800 * MB, 8.0, 8)
    assert large.workers == 2
    assert "no more fit into the budget" in "\n".join(lines("shop", large, None))


def test_plan_says_when_not_even_one_worker_fits_and_what_would_do():
    tight = Estimate(MEASURED, 1000 * MB, 110 * MB, 4.0, 4)
    assert (tight.fit, tight.workers) == (0, 0)
    text = "\n".join(lines("shop", tight, None))
    assert "so 0 workers fit" in text
    assert "not even one fits: allowed is a memory.budget of at least 120 MB" in text


def test_budget_counts_no_programs_and_libraries_that_are_only_mapped():
    mapped = Measured(1.5, 0.05, total=120 * MB, private=20 * MB, forks=True, counted=100 * MB)
    assert Estimate(mapped, 1000 * MB, 100 * MB, 4.0, 4).fit == 1
    assert Estimate(mapped, 1000 * MB, 99 * MB, 4.0, 4).fit == 0


def test_load_of_which_nothing_was_answered_estimates_nothing():
    text = "\n".join(lines("shop", ESTIMATE, Carried("/x", 0, 3.0, 0.5, 70, "status 404")))
    assert "load: /x: all 70 requests failed: status 404" in text
    assert "estimate" not in text.replace("nothing to estimate", "")


def test_bar_has_its_width_and_shows_each_part():
    bar = ESTIMATE.bar(100)
    assert len(bar) == 100
    assert (bar.count("#"), bar.count("1"), bar.count("."), bar.count("-")) == (10, 2, 62, 20)
    assert len(Estimate(MEASURED, 1000 * MB, 0, 4.0, 4).bar(40)) == 40


def test_load_of_the_machine_is_an_estimate_from_cpu_time():
    carried = Carried("/x", requests=3000, seconds=3.0, cpu=0.5, failed=0)
    assert machine_rate(carried, 4, 4.0) == 8000
    assert machine_rate(carried, 4, 2.0) == 4000
    text = "\n".join(lines("shop", ESTIMATE, carried))
    assert "estimate: 8000 requests/s with 4 workers" in text
    assert as_data(ESTIMATE, carried)["load"]["machine_estimate"] == 8000
    assert as_data(ESTIMATE, None)["totals"]["4"] == 180 * MB
