"""`fairlead check` and `fairlead plan` on a real app."""

import json

import pytest
from service import Service

APP = """
    import os
    from contextlib import asynccontextmanager
    from fastapi import FastAPI

    SHARED = b"s" * 80_000_000
    held = []

    @asynccontextmanager
    async def lifespan(app):
        held.append(b"p" * 30_000_000)
        yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/")
    def root():
        return os.getpid()
"""


def concepts(service: Service) -> dict[str, dict[str, object]]:
    answer = json.loads(service.command("check", "--json").stdout)
    return {one["concept"]: one for one in answer["concepts"]}


def test_check_tells_the_six_concepts_before_and_after_the_start(service: Service) -> None:
    service.write(APP)
    service.configure("[[steps]]\nname = 'migrate'\nrun = 'true'\n[replication]\nworkers = 1\n[http]\nport = 0\n")
    before = concepts(service)
    assert len(before) == 6
    assert before["Previous steps"]["state"] == "1 configured; migrate will run at the start"
    service.start("--name", service.folder.name[:60], bind=None)
    service.wait_until(lambda: "used" in str(concepts(service)["Memory"]["state"]), "memory is measured")
    after = concepts(service)
    assert after["Previous steps"]["state"] == "1 configured; none is due"
    assert "1 serve" in str(after["Replication"]["state"])
    service.write(APP + "    # new code\n")
    assert concepts(service)["Previous steps"]["missing"] == "due: migrate"
    told = service.command("check")
    assert told.returncode == 1
    assert "fairlead reload" in told.stdout


def test_plan_measures_without_a_port_and_predicts_what_four_workers_hold(service: Service) -> None:
    service.write(APP)
    service.configure("[replication]\nworkers = 4\n[[steps]]\nname = 'never'\nrun = 'touch ran'\n")
    answer = service.command("plan", "--json", "--load", "/", "--seconds", "1")
    assert answer.returncode == 0, answer.stderr
    predicted = json.loads(answer.stdout)
    assert predicted["private"] >= 30_000_000
    assert predicted["shared"] >= 80_000_000
    assert predicted["load"]["requests_per_second"] > 10
    assert predicted["load"]["failed"] == 0
    assert not (service.folder / "ran").exists()
    assert not service.runtime.exists()
    service.start("--workers", "4")
    service.wait_until(lambda: service.status()["memory_budget"]["used"], "memory is measured")
    measured = json.loads(service.command("status", "--json").stdout)["memory"]["total_pss"]
    print(f"four workers: predicted {predicted['totals']['4'] / 1e6:.0f} MB, measured {measured / 1e6:.0f} MB")
    assert predicted["totals"]["4"] == pytest.approx(measured, rel=0.10)


def test_plan_of_an_app_that_cannot_start_says_why(service: Service) -> None:
    service.write("import no_such_module\n")
    service.configure("[app]\ntarget = 'main:app'\n")
    answer = service.command("plan")
    assert answer.returncode == 1
    assert answer.stderr.startswith("error: cannot start the app: import: cannot import main")


def test_plan_and_start_agree_that_not_even_one_worker_fits(service: Service) -> None:
    service.write(APP)
    service.configure("[memory]\nbudget = '100MB'\n[app]\ntarget = 'main:app'\n")
    answer = service.command("plan", "--load", "/nothing", "--seconds", "1")
    assert answer.returncode == 1
    assert "not even one fits" in answer.stdout
    assert "requests failed: status 404" in answer.stdout
    service.launch("--workers", "1")
    assert service.exit_code() == 3
