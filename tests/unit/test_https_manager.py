"""The state machine that the supervisor embeds, without clock, files or processes."""

from dataclasses import replace

from fairlead.https import policy
from fairlead.https.manager import MAX_AGENTS, Event, Manager, StartAgent, Swap
from fairlead.https.model import CertificatePlan, CertificateState, HttpsPlan, Issuer, Job, Result, from_json, to_json

NOW = 1_000_000.0
ISSUER = Issuer("one", "https://one.test/dir", eab_hmac_key="secret")


def plan_of(*names: str, source: str = "acme") -> HttpsPlan:
    certificates = tuple(CertificatePlan(source, (name,)) for name in names)
    return HttpsPlan(store="/nowhere", certificates=certificates, issuers=(ISSUER,))


def valid(name: str, lifetime: float = 86400.0, **more: object) -> CertificateState:
    state = CertificateState((name,), "One", ISSUER.directory_url, not_before=NOW, not_after=NOW + lifetime)
    return replace(state, **more)


def jobs(actions: list[object]) -> list[Job]:
    return [action.job for action in actions if isinstance(action, StartAgent)]


def test_certificate_that_is_missing_is_obtained_at_once_and_only_once() -> None:
    manager = Manager(plan_of("a.test"), {})
    (job,) = jobs(manager.tick(NOW))
    assert (job.action, job.certificate.names, job.asked, job.force) == ("obtain", ("a.test",), False, False)
    assert manager.tick(NOW + 5) == []


def test_obtained_certificate_is_swapped_in_and_told() -> None:
    manager = Manager(plan_of("a.test"), {})
    (job,) = jobs(manager.tick(NOW))
    actions = manager.agent_ended(job, Result("obtained", valid("a.test")), NOW + 1)
    assert actions == [Swap("acme/a.test"), Event("obtained", "acme/a.test", ("a.test",), "a.test from One")]
    assert manager.tick(NOW + 2) == []
    assert manager.report(NOW + 2)[0]["state"] == "valid"


def test_usable_certificate_of_the_store_needs_no_agent_until_it_is_due() -> None:
    manager = Manager(plan_of("a.test"), {"acme/a.test": valid("a.test", 90.0)})
    assert manager.tick(NOW + 59) == []
    assert manager.wake_after(NOW + 59) == 1.0
    assert len(jobs(manager.tick(NOW + 60))) == 1


def test_wake_is_within_a_minute_whatever_happens() -> None:
    manager = Manager(plan_of("a.test"), {"acme/a.test": valid("a.test", 1e7)})
    assert manager.wake_after(NOW) == 60.0
    assert Manager(plan_of("a.test"), {}).wake_after(NOW) == 0.0


def test_supervisor_that_has_nothing_to_start_is_never_told_to_come_back_at_once() -> None:
    waiting = valid("a.test", 50.0, failures=1, ari_check=NOW + 5, last_attempt=NOW, next_attempt=NOW + 1e5)
    for states in ({}, {"acme/a.test": waiting}, {"acme/a.test": valid("a.test", ari_check=NOW + 5)}):
        manager = Manager(plan_of("a.test", "b.test", "c.test"), states)
        for second in range(0, 200, 7):
            while jobs(manager.tick(NOW + second)):
                pass
            assert manager.wake_after(NOW + second) > 0


def test_agent_that_dies_is_a_failure_with_a_wait() -> None:
    manager = Manager(plan_of("a.test"), {})
    (job,) = jobs(manager.tick(NOW))
    (event,) = manager.agent_ended(job, None, NOW + 1)
    assert event == Event("failed", "acme/a.test", ("a.test",), "the certificate agent died")
    assert manager.tick(NOW + 60) == []
    assert len(jobs(manager.tick(NOW + 61))) == 1


def test_store_that_cannot_be_read_keeps_what_is_known() -> None:
    manager = Manager(plan_of("a.test"), {"acme/a.test": valid("a.test", 90.0)})
    (job,) = jobs(manager.tick(NOW + 60))
    manager.agent_ended(job, Result("lost", CertificateState(), "cannot read /x"), NOW + 61)
    report = manager.report(NOW + 61)[0]
    assert (report["not_after"], report["state"], report["last_error"]) == (NOW + 90.0, "failing", "cannot read /x")


def test_only_so_many_agents_run_at_a_time() -> None:
    manager = Manager(plan_of("a.test", "b.test", "c.test"), {})
    first = jobs(manager.tick(NOW))
    assert len(first) == MAX_AGENTS
    manager.agent_ended(first[0], Result("obtained", valid("a.test")), NOW)
    assert [job.certificate.names for job in jobs(manager.tick(NOW))] == [("c.test",)]


def test_end_of_an_agent_of_another_plan_is_ignored() -> None:
    stale = Job("obtain", CertificatePlan("acme", ("a.test",)), plan_of("a.test"))
    manager = Manager(plan_of("a.test"), {})
    manager.tick(NOW)
    assert manager.agent_ended(stale, Result("obtained", valid("a.test")), NOW) == []
    assert manager.report(NOW)[0]["state"] == "missing"


def test_advice_is_asked_for_when_its_time_comes() -> None:
    state = valid("a.test", 1e7, ari_check=NOW + 10)
    manager = Manager(plan_of("a.test"), {"acme/a.test": state})
    assert manager.wake_after(NOW) == 10.0
    (job,) = jobs(manager.tick(NOW + 10))
    assert job.action == "ari"
    assert (
        manager.agent_ended(job, Result("advised", replace(state, ari_time=NOW + 20, ari_check=NOW + 1e5)), NOW + 11)
        == []
    )
    assert jobs(manager.tick(NOW + 20))[0].action == "obtain"


def test_advice_whose_agent_dies_is_no_failed_attempt() -> None:
    manager = Manager(plan_of("a.test"), {"acme/a.test": valid("a.test", 1e7, ari_check=NOW)})
    (job,) = jobs(manager.tick(NOW))
    assert manager.agent_ended(job, None, NOW) == []
    assert manager.report(NOW)[0]["state"] == "valid"
    assert manager.tick(NOW + 100) == []


def test_alarm_is_told_once_for_each_condition() -> None:
    state = valid("a.test", 1000.0, failures=5, last_error="refused", last_attempt=NOW, next_attempt=NOW + 1e6)
    manager = Manager(plan_of("a.test"), {"acme/a.test": state})
    assert manager.tick(NOW + 700) == []
    (expiring,) = manager.tick(NOW + 850)
    assert isinstance(expiring, Event)
    assert (expiring.name, expiring.text) == ("expiring", "a.test: expiring, 0.0 hours left; last error: refused")
    assert manager.tick(NOW + 900) == []
    (expired,) = manager.tick(NOW + 1000)
    assert isinstance(expired, Event)
    assert expired.name == "expired"


def test_person_who_asks_does_not_wait_for_a_back_off() -> None:
    state = policy.failed(CertificateState(), NOW, "no", (ISSUER,), ISSUER, 7200.0)
    manager = Manager(plan_of("a.test", "b.test"), {"acme/a.test": state, "acme/b.test": valid("b.test")})
    assert manager.tick(NOW + 1) == []
    assert manager.request("obtain", "a.test", force=True) == ["acme/a.test"]
    (job,) = jobs(manager.tick(NOW + 1))
    assert (job.asked, job.force) == (True, True)
    assert manager.request("obtain", "unknown.test") == []


def test_person_who_asks_has_every_issuer_tried_before_it_counts_as_failed() -> None:
    issuers = (ISSUER, replace(ISSUER, name="two", directory_url="https://two.test/dir"))
    manager = Manager(replace(plan_of("a.test"), issuers=issuers), {"acme/a.test": valid("a.test")})
    manager.request("obtain", "a.test", force=True)
    (job,) = jobs(manager.tick(NOW))
    once = policy.failed(valid("a.test"), NOW, "no", issuers, ISSUER)
    manager.agent_ended(job, Result("failed", once, "no"), NOW)
    assert manager.is_wanted("acme/a.test")
    assert jobs(manager.tick(NOW)) == [job]
    assert not manager.is_wanted("acme/a.test")
    manager.agent_ended(job, Result("failed", policy.failed(once, NOW, "no", issuers, issuers[1]), "no"), NOW)
    assert not manager.is_wanted("acme/a.test")
    assert manager.tick(NOW) == []


def test_next_issuers_turn_is_by_the_configuration_of_now() -> None:
    two, three = (replace(ISSUER, name=name, directory_url=f"https://{name}.test/dir") for name in ("two", "three"))
    before = replace(plan_of("a.test"), issuers=(ISSUER, two))
    under_way = Job("obtain", before.certificates[0], before, True, True)
    manager = Manager(replace(before, issuers=(three, two)), {"acme/a.test": valid("a.test")}, (), [under_way])
    once = policy.failed(valid("a.test"), NOW, "no", before.issuers, ISSUER)
    manager.agent_ended(under_way, Result("failed", once, "no"), NOW)
    (again,) = jobs(manager.tick(NOW))
    assert again.https.issuers == (three, two)
    assert (again.asked, again.force) == (True, True)


def test_revoked_certificate_is_told_and_renewed_at_once() -> None:
    manager = Manager(plan_of("a.test"), {"acme/a.test": valid("a.test")})
    manager.request("revoke", "a.test")
    (job,) = jobs(manager.tick(NOW))
    assert job.action == "revoke"
    actions = manager.agent_ended(job, Result("revoked", valid("a.test", revoked=True)), NOW)
    assert [action.name for action in actions if isinstance(action, Event)] == ["revoked"]
    assert jobs(manager.tick(NOW))[0].action == "obtain"


def test_files_are_taken_when_their_stamp_changes_and_not_again_when_they_are_bad() -> None:
    plan = CertificatePlan("files", (), "/c.pem", "/k.pem")
    manager = Manager(HttpsPlan(certificates=(plan,)), {})
    (job,) = jobs(manager.tick(NOW, {plan.key: "one"}))
    bad = policy.failed(CertificateState(stamp="one"), NOW, "no match")
    manager.agent_ended(job, Result("failed", replace(bad, next_attempt=NOW)), NOW)
    assert manager.tick(NOW + 1, {plan.key: "one"}) == []
    (job,) = jobs(manager.tick(NOW + 2, {plan.key: "two"}))
    manager.agent_ended(job, Result("obtained", valid("f.test", stamp="two")), NOW + 2)
    assert manager.report(NOW + 3)[0]["names"] == ["f.test"]
    assert manager.wake_after(NOW + 3) == 5.0


def test_agent_for_files_that_dies_is_not_started_again_at_once() -> None:
    plan = CertificatePlan("files", (), "/c.pem", "/k.pem")
    manager = Manager(HttpsPlan(certificates=(plan,)), {})
    (job,) = jobs(manager.tick(NOW, {plan.key: "one"}))
    manager.agent_ended(job, None, NOW)
    assert manager.tick(NOW + 30, {plan.key: "one"}) == []
    assert len(jobs(manager.tick(NOW + 61, {plan.key: "one"}))) == 1


def test_job_travels_as_json_and_shows_no_secret_in_its_text() -> None:
    (job,) = jobs(Manager(plan_of("a.test"), {}, (1, 2, 3)).tick(NOW))
    assert from_json(Job, to_json(job)) == job
    assert "secret" in to_json(job)
    assert "secret" not in repr(job)
