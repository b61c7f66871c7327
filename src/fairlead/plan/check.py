"""`fairlead check`, the judgement: what is known of the six concepts → who takes care of each, and what is missing. Pure."""

from typing import Any

from fairlead.lean_dataclass import dataclass
from fairlead.plan.model import Plan
from fairlead.replication.policy import auto_workers
from fairlead.units import format_duration, format_size

_SOON = 3 * 86400.0
_CERTIFICATES = 'https = { domains = ["example.com"], agree_tos = true }  # at the top of fairlead.toml'
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class Finding:
    """One concept. `mend`: the exact command or line that brings what is `missing`; both empty when nothing is."""

    concept: str
    who: str
    state: str
    missing: str = ""
    mend: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing is missing."""
        return not self.missing


@dataclass(frozen=True, slots=True)
class Known:
    """What was looked up. `report`: what the running instance says of itself; None when it does not run.

    `home`: systemd, container or none. `domains`: name → the addresses it has. `busy`: places of ours that somebody
    else listens on. `now`: seconds since the epoch.
    """

    plan: Plan
    report: dict[str, Any] | None
    home: str
    unit_installed: bool
    unit_enabled: bool
    domains: dict[str, tuple[str, ...]]
    own_addresses: frozenset[str]
    busy: tuple[str, ...]
    steps_due: tuple[str, ...]
    cpus: float
    usable: int
    now: float
    systemctl: str = "systemctl"
    """How to speak to the manager that has the unit: the system's, or this user's own."""
    pressure: float | None = None
    steps_problem: str = ""
    steps_mend: str = "fairlead steps"


def judge(known: Known) -> list[Finding]:
    """One finding for each of the six concepts, in the documentation's order."""
    return [_https(known), _startup(known), _restarts(known), _replication(known), _memory(known), _steps(known)]


def _https(known: Known) -> Finding:
    plan = known.plan
    if known.busy:
        place = ", ".join(known.busy)
        return Finding(
            "HTTPS", "Fairlead", "not started", f"{place} is taken by another program", f"ss -ltnp  # who has {place}"
        )
    if not plan.https.certificates:
        if all(bind.kind != "tcp" or bind.host in _LOOPBACK for bind in plan.binds):
            return Finding("HTTPS", "a proxy in front, if clients are elsewhere", "plain HTTP, on this machine only")
        return Finding("HTTPS", "nobody", "plain HTTP for everybody", "certificates", _CERTIFICATES)
    astray = [name for name, found in known.domains.items() if not known.own_addresses.intersection(found)]
    if astray:
        found = ", ".join(known.domains[astray[0]]) or "nowhere"
        own = sorted(address for address in known.own_addresses if address not in _LOOPBACK)
        missing = f"{', '.join(astray)} does not point here (it points to {found})"
        return Finding(
            "HTTPS", "Fairlead", "not reachable by its name", missing, f"set its A or AAAA record to {', '.join(own)}"
        )
    return _certificates(known)


def _certificates(known: Known) -> Finding:
    if known.report is None:
        return Finding(
            "HTTPS", "Fairlead", f"{len(known.plan.https.certificates)} certificates configured, not started"
        )
    for one in known.report.get("certificates", ()):
        title = ", ".join(one["names"]) or "from files"
        if not one["not_after"] or one["not_after"] < known.now:
            return Finding(
                "HTTPS",
                "Fairlead",
                f"no valid certificate for {title}",
                one["last_error"] or "it is not there yet",
                "fairlead certs renew",
            )
        if one["not_after"] - known.now < _SOON and one["last_error"]:
            return Finding("HTTPS", "Fairlead", f"{title} expires soon", one["last_error"], "fairlead certs renew")
    first = min((one["not_after"] for one in known.report.get("certificates", ())), default=known.now)
    return Finding("HTTPS", "Fairlead", f"valid, the first to expire in {format_duration(max(0.0, first - known.now))}")


def _startup(known: Known) -> Finding:
    unit = f"{known.plan.name}.service"
    if known.home == "container":
        first = known.report is None or known.report.get("pid", 1) == 1
        state = "PID 1 of a container" if first else "in a container, whose first process has to start it"
        return Finding("Running on startup", "the container's runtime", state)
    if known.home != "systemd":
        return Finding(
            "Running on startup",
            "nobody",
            "this host has no systemd",
            "something that starts it",
            "fairlead export supervisor",
        )
    if not known.unit_installed:
        return Finding("Running on startup", "nobody", "started by hand", f"the unit {unit}", "fairlead install")
    if not known.unit_enabled:
        return Finding(
            "Running on startup",
            "systemd",
            f"{unit} is installed",
            "it is not enabled",
            f"{known.systemctl} enable --now {unit}",
        )
    return Finding("Running on startup", "systemd", f"{unit} is enabled")


def _restarts(known: Known) -> Finding:
    policy, report = known.plan.restarts, known.report
    if not policy.hang_timeout:
        return Finding(
            "Restarts",
            "Fairlead",
            "crashes only",
            "hangs are not noticed",
            _line('hang_timeout = "30s"', "restarts"),
        )
    state = f"crashes at once, hangs after {format_duration(policy.hang_timeout)}"
    if report is None:
        return Finding("Restarts", "Fairlead", f"{state}; not running")
    if troubles := [trouble for one in report.get("companions", ()) if (trouble := _trouble(known, one))]:
        return Finding("Restarts", "Fairlead", state, "; ".join(troubles), "fairlead status")
    if report.get("last_failure"):
        return Finding("Restarts", "Fairlead", state, str(report["last_failure"]), "fairlead status")
    return Finding("Restarts", "Fairlead", f"{state}; {report['restarts_total']} since it began")


def _trouble(known: Known, companion: dict[str, Any]) -> str:
    """What is wrong with a companion, if anything is."""
    name = f"companion {companion['name']}/{companion['replica']}"
    deaths, age = companion["deaths_in_a_row"], companion["age"]
    if companion["state"] == "failed":
        return f"{name} failed and is not started again: {companion['note']}"
    if deaths > 1 and (age is None or age < known.plan.restarts.quiet_time):
        return f"{name} ended {deaths} times in a row"
    return ""


def _line(text: str, table: str) -> str:
    """A line of the configuration, to be copied as it is."""
    return f"{text}  # in fairlead.toml, [{table}]"


def _replication(known: Known) -> Finding:
    policy, cpus = known.plan.replication, auto_workers(known.cpus)
    wanted = known.report["target_workers"] if known.report and not policy.scales else policy.workers
    most = policy.max or wanted
    serving = sum(w["state"] == "serving" for w in known.report["workers"]) if known.report else None
    state = f"{policy.workers} to {most} workers by load" if policy.scales else _count(wanted, "worker")
    state += f", {_count(known.cpus, 'CPU')}" + ("" if serving is None else f"; {serving} serve")
    if most < cpus:
        scaled = known.report is not None and policy.workers >= cpus and not policy.scales
        mend = f"fairlead scale {cpus}" if scaled else _line('workers = "auto"', "replication")
        return Finding(
            "Replication",
            "Fairlead",
            state,
            f"{_count(cpus - most, 'CPU')} {'stays' if cpus - most == 1 else 'stay'} idle",
            mend,
        )
    if serving is not None and known.report is not None and serving < known.report["target_workers"]:
        return Finding(
            "Replication", "Fairlead", state, f"{known.report['target_workers']} are wanted", "fairlead status"
        )
    return Finding("Replication", "Fairlead", state)


def _count(number: float, what: str) -> str:
    return f"{number:g} {what}" + ("" if number == 1 else "s")


def _memory(known: Known) -> Finding:
    budget, report = known.plan.memory.budget, known.report
    if not budget:
        return Finding(
            "Memory",
            "the kernel's killer",
            "no budget",
            "a limit before the machine's",
            _line('budget = "80%"', "memory"),
        )
    figures = report.get("memory_budget", {}) if report else {}
    # A running instance may be in a cgroup of its own, with another limit than this command.
    state = f"budget {format_size(figures.get('budget') or budget)} of {format_size(known.usable)}"
    if not figures.get("used"):
        return Finding("Memory", "Fairlead", f"{state}; `fairlead plan` measures the need")
    state += f", {format_size(figures['used'])} used, {figures['workers_fit']} workers fit"
    if known.pressure is not None and known.pressure > 0.1:
        return Finding(
            "Memory", "Fairlead", state, f"processes wait for memory {known.pressure:.0%} of the time", "fairlead plan"
        )
    if report is not None and figures["workers_fit"] < report["target_workers"]:
        missing = f"{report['target_workers']} workers are wanted, {figures['worker_needs'] / 1e6:.0f} MB each"
        by_hand = f"fairlead scale {figures['workers_fit']}"
        return Finding(
            "Memory", "Fairlead", state, missing, "fairlead plan" if known.plan.replication.scales else by_hand
        )
    return Finding("Memory", "Fairlead", state)


def _steps(known: Known) -> Finding:
    steps = known.plan.steps
    if known.steps_problem:
        return Finding("Previous steps", "Fairlead", "which are due is unknown", known.steps_problem, known.steps_mend)
    if not steps:
        return Finding("Previous steps", "nobody", "none configured ([[steps]])")
    if known.steps_due and known.report is not None:
        return Finding(
            "Previous steps",
            "Fairlead",
            f"{len(steps)} configured",
            f"due: {', '.join(known.steps_due)}",
            "fairlead reload",
        )
    due = f"; {', '.join(known.steps_due)} will run at the start" if known.steps_due else "; none is due"
    return Finding("Previous steps", "Fairlead", f"{len(steps)} configured{due}")
