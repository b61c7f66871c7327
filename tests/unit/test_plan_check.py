import dataclasses

import pytest

from fairlead.config.load import load
from fairlead.https.model import CertificatePlan, HttpsPlan
from fairlead.memory.policy import MemoryPolicy
from fairlead.plan.check import Known, judge
from fairlead.plan.model import Bind
from fairlead.replication.policy import ReplicationPolicy
from fairlead.restarts.policy import RestartPolicy
from fairlead.steps.policy import Step
from fairlead.testing.fake_host import make_plan

GB = 10**9
NOW = 1_800_000_000.0
DAY = 86400.0
CERTIFICATE = CertificatePlan("acme", ("shop.example",))
REPORT = {
    "workers": [{"state": "serving"}, {"state": "serving"}],
    "target_workers": 2,
    "restarts_total": 3,
    "last_failure": None,
    "memory_budget": {"used": GB, "workers_fit": 9, "worker_needs": 10**8},
    "certificates": [{"names": ["shop.example"], "not_after": NOW + 50 * DAY, "last_error": ""}],
}
FAILED_COMPANION = {
    "name": "jobs",
    "replica": 0,
    "state": "failed",
    "age": None,
    "deaths_in_a_row": 0,
    "note": "exit code 9",
}
GOOD = Known(
    plan=make_plan(
        https=HttpsPlan(certificates=(CERTIFICATE,)),
        replication=ReplicationPolicy(2),
        memory=MemoryPolicy(budget=8 * GB),
        steps=(Step("migrate", ("m",)),),
    ),
    report=REPORT,
    home="systemd",
    unit_installed=True,
    unit_enabled=True,
    domains={"shop.example": ("192.0.2.1",)},
    own_addresses=frozenset({"127.0.0.1", "192.0.2.1"}),
    busy=(),
    steps_due=(),
    cpus=2.0,
    usable=10 * GB,
    now=NOW,
)
ORDER = ["HTTPS", "Running on startup", "Restarts", "Replication", "Memory", "Previous steps"]


def plan(**changes):
    return dataclasses.replace(GOOD.plan, **changes)


def report(**changes):
    return REPORT | changes


def test_everything_taken_care_of_is_six_times_ok():
    findings = judge(GOOD)
    assert [finding.concept for finding in findings] == ORDER
    assert all(finding.ok for finding in findings)
    assert all(finding.ok for finding in judge(dataclasses.replace(GOOD, report=None)))


@pytest.mark.parametrize(
    ("changes", "concept", "missing", "mend"),
    [
        ({"busy": ("0.0.0.0:443",)}, "HTTPS", "taken", "ss -ltnp"),
        (
            {"plan": plan(https=HttpsPlan(), binds=(Bind("tcp", "0.0.0.0", 80),))},
            "HTTPS",
            "certificates",
            "agree_tos = true",
        ),
        ({"domains": {"shop.example": ("198.51.100.9",)}}, "HTTPS", "does not point here", "192.0.2.1"),
        ({"domains": {"shop.example": ()}}, "HTTPS", "nowhere", "A or AAAA"),
        (
            {"report": report(certificates=[{"names": ["a"], "not_after": 0, "last_error": "rate limited"}])},
            "HTTPS",
            "rate limited",
            "fairlead certs renew",
        ),
        (
            {"report": report(certificates=[{"names": ["a"], "not_after": NOW + DAY, "last_error": "no answer"}])},
            "HTTPS",
            "no answer",
            "fairlead certs renew",
        ),
        ({"unit_installed": False}, "Running on startup", "test.service", "fairlead install"),
        ({"unit_enabled": False}, "Running on startup", "not enabled", "systemctl enable --now test.service"),
        (
            {"unit_enabled": False, "systemctl": "systemctl --user"},
            "Running on startup",
            "not enabled",
            "systemctl --user enable --now test.service",
        ),
        ({"home": "none"}, "Running on startup", "something that starts it", "fairlead export supervisor"),
        ({"plan": plan(restarts=RestartPolicy(hang_timeout=0))}, "Restarts", "hangs", "hang_timeout"),
        ({"report": report(last_failure="cannot reload: x")}, "Restarts", "cannot reload: x", "fairlead status"),
        (
            {"cpus": 8.0},
            "Replication",
            "6 CPUs stay idle",
            'workers = "auto"  # in fairlead.toml, [replication]',
        ),
        ({"report": report(target_workers=1)}, "Replication", "1 CPU stays idle", "fairlead scale 2"),
        (
            {"report": report(companions=[FAILED_COMPANION])},
            "Restarts",
            "companion jobs/0 failed and is not started again: exit code 9",
            "fairlead status",
        ),
        (
            {"report": report(companions=[FAILED_COMPANION | {"state": "waiting", "deaths_in_a_row": 4}])},
            "Restarts",
            "companion jobs/0 ended 4 times in a row",
            "fairlead status",
        ),
        (
            {
                "plan": plan(replication=ReplicationPolicy(1, 4)),
                "report": report(target_workers=4, memory_budget={"used": GB, "workers_fit": 3, "worker_needs": 10**8}),
            },
            "Memory",
            "4 workers are wanted",
            "fairlead plan",  # `fairlead scale` would be refused
        ),
        ({"report": report(target_workers=5)}, "Replication", "5 are wanted", "fairlead status"),
        ({"plan": plan(memory=MemoryPolicy())}, "Memory", "a limit", 'budget = "80%"'),
        (
            {"report": report(memory_budget={"used": GB, "workers_fit": 1, "worker_needs": 3 * 10**9})},
            "Memory",
            "2 workers are wanted, 3000 MB each",
            "fairlead scale 1",
        ),
        ({"pressure": 0.4}, "Memory", "wait for memory 40%", "fairlead plan"),
        ({"steps_due": ("migrate",)}, "Previous steps", "due: migrate", "fairlead reload"),
        ({"steps_problem": "cannot read x"}, "Previous steps", "cannot read x", "fairlead steps"),
    ],
)
def test_what_is_missing_is_told_with_what_mends_it(changes, concept, missing, mend):
    known = dataclasses.replace(GOOD, **changes)
    finding = judge(known)[ORDER.index(concept)]
    assert not finding.ok
    assert missing in finding.missing
    assert mend in finding.mend


def test_plain_http_on_this_machine_only_is_for_a_proxy_in_front():
    known = dataclasses.replace(GOOD, plan=plan(https=HttpsPlan(), binds=(Bind("tcp", "127.0.0.1", 8000),)))
    assert judge(known)[0].ok


def test_container_is_started_by_its_runtime():
    for pid, state in ((1, "PID 1 of a container"), (77, "in a container, whose first process has to start it")):
        known = dataclasses.replace(GOOD, home="container", unit_installed=False, report=report(pid=pid))
        assert (judge(known)[1].ok, judge(known)[1].state) == (True, state)


def test_budget_is_the_running_instances_own():
    running = report(memory_budget={"budget": GB // 2, "used": GB // 4, "workers_fit": 9, "worker_needs": 10**7})
    assert judge(dataclasses.replace(GOOD, report=running, usable=GB))[4].state.startswith("budget 500 MB of 1.0 GB")


def test_companion_that_has_been_quiet_for_long_is_no_trouble():
    calm = FAILED_COMPANION | {"state": "running", "age": 10_000.0, "deaths_in_a_row": 4}
    assert judge(dataclasses.replace(GOOD, report=report(companions=[calm])))[2].ok


@pytest.mark.parametrize(
    "changes",
    [
        {"plan": plan(https=HttpsPlan(), binds=(Bind("tcp", "0.0.0.0", 80),))},
        {"plan": plan(restarts=RestartPolicy(hang_timeout=0))},
        {"plan": plan(memory=MemoryPolicy())},
        {"cpus": 8.0},
    ],
)
def test_line_that_mends_can_be_copied_into_the_configuration(tmp_path, changes):
    [mend] = [
        finding.mend for finding in judge(dataclasses.replace(GOOD, **changes)) if "fairlead.toml" in finding.mend
    ]
    table = mend.rpartition(", ")[2] if mend.endswith("]") else ""
    (tmp_path / "fairlead.toml").write_text(f"{table}\n{mend}\n[log]\n")
    assert load(tmp_path, {}, {}).settings


def test_steps_that_a_start_will_run_are_no_fault_before_the_start():
    assert judge(dataclasses.replace(GOOD, report=None, steps_due=("migrate",)))[5].ok
