"""Running the real certificate agent, and the plans it is given."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from fairlead.https.model import CertificatePlan, HttpsPlan, Issuer, Job, Result, from_json, to_json

AGENT = [sys.executable, "-P", "-m", "fairlead.https.agent"]


def https_plan(
    store: Path, *names: str, issuers: tuple[Issuer, ...] = (), source: str = "acme", **more: object
) -> HttpsPlan:
    """A plan with one certificate for all `names`."""
    plan = HttpsPlan(
        store=str(store),
        certificates=(CertificatePlan(source, names),),
        issuers=issuers,
        agree_tos=True,
        timeout=60.0,
    )
    return replace(plan, **more)


def job_of(https: HttpsPlan, action: str = "obtain", **more: object) -> Job:
    return Job(action, https.certificates[0], https, **more)


def start_agent(job: Job) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        AGENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stdin is not None
    process.stdin.write(to_json(job))
    process.stdin.close()
    process.stdin = None
    return process


def finish(process: subprocess.Popen[str]) -> tuple[list[str], Result]:
    """The stages it told and its result."""
    output, errors = process.communicate(timeout=100)
    lines = [json.loads(line) for line in output.splitlines()]
    assert process.returncode == 0, errors
    assert not errors, errors
    stages = [line["stage"] for line in lines[:-1]]
    return stages, from_json(Result, json.dumps(lines[-1]["result"]))


def run_agent(job: Job) -> tuple[list[str], Result]:
    return finish(start_agent(job))
