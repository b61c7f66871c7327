import dataclasses

import pytest

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
        ({"plan": plan(https=HttpsPlan(), binds=(Bind("tcp", "0.0.0.0", 80),))}, "HTTPS", "certificates", "[https]"),
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
        ({"home": "none"}, "Running on startup", "something that starts it", "fairlead export"),
        ({"plan": plan(restarts=RestartPolicy(hang_timeout=0))}, "Restarts", "hangs", "hang_timeout"),
        ({"report": report(last_failure="cannot reload: x")}, "Restarts", "cannot reload: x", "fairlead status"),
        ({"cpus": 8.0}, "Replication", "6 CPUs stay idle", 'workers = "auto"'),
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
    assert judge(dataclasses.replace(GOOD, home="container", unit_installed=False))[1].ok


def test_steps_that_a_start_will_run_are_no_fault_before_the_start():
    assert judge(dataclasses.replace(GOOD, report=None, steps_due=("migrate",)))[5].ok
