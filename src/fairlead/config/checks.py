"""What settings say about each other: pairs that exclude each other, orders that must hold, values without effect."""

from collections.abc import Callable
from typing import Final

from fairlead.config.files import Key
from fairlead.config.layers import Layer
from fairlead.config.settings import Settings
from fairlead.replication.settings import ScaleSettings

_BIND: Final[Key] = ("http", "bind")
_ADDRESS: Final[tuple[Key, ...]] = (("http", "host"), ("http", "port"))


def _secure(settings: Settings) -> bool:
    return settings.https.resolved_mode != "off"


def _without_acme(settings: Settings) -> bool:
    return settings.https.resolved_mode != "acme"


_NO_ACME: Final = 'https.mode is not "acme"'
_WITHOUT_EFFECT: Final[dict[Key, tuple[Callable[[Settings], bool], str]]] = {
    ("startup", "probe_timeout"): (lambda s: s.startup.probe is None, "startup.probe is not set"),
    ("restarts", "max_requests_jitter"): (lambda s: not s.restarts.max_requests, "restarts.max_requests is not set"),
    ("restarts", "max_age_jitter"): (lambda s: not s.restarts.max_age, "restarts.max_age is not set"),
    ("log", "access_file"): (lambda s: not s.log.access, "log.access is false"),
    ("http", "forwarded_allow_ips"): (lambda s: not s.http.proxy_headers, "http.proxy_headers is false"),
    ("http", "h11_max_incomplete_event_size"): (lambda s: s.http.protocol != "h11", 'http.protocol is not "h11"'),
    ("http", "port"): (_secure, "HTTPS is on: see https.https_port and https.http_port"),
    ("https", "https_port"): (lambda s: not _secure(s), "HTTPS is off"),
    ("https", "http_port"): (lambda s: not _secure(s), "HTTPS is off"),
    ("https", "domains"): (lambda s: not _secure(s), "https.mode is off"),
    **{("https", name): (_without_acme, _NO_ACME) for name in ("issuers", "email", "agree_tos", "challenge", "dns")},
    ("https", "leaf_lifetime"): (lambda s: s.https.resolved_mode != "internal", 'https.mode is not "internal"'),
    ("https", "hsts"): (lambda s: not _secure(s), "HTTPS is off"),
    ("https", "hook"): (lambda s: not _secure(s), "HTTPS is off"),
    ("https", "client_certificates"): (lambda s: not _secure(s), "HTTPS is off"),
    ("http", "unix_mode"): (
        lambda s: not any(bind.startswith("unix:") for bind in s.http.bind),
        "no unix socket is in http.bind",
    ),
}


def exclusive_problems(layer: Layer) -> list[str]:
    """http.bind and http.host or http.port in one source say different things about the same: refused."""
    both = [key for key in _ADDRESS if layer.has(key)] if layer.has(_BIND) else []
    return [
        f"{layer.origin(key)}: {'.'.join(key)} and http.bind ({layer.origin(_BIND)}) exclude each other; "
        "put the address into http.bind, or leave http.bind out"
        for key in both
    ]


def settle_address(layers: list[Layer]) -> list[str]:
    """Takes the weaker of http.bind and host/port out of `layers` (weakest first), and says so: the stronger is meant."""
    notes = []
    for index, strong in enumerate(layers):
        losers = _ADDRESS if strong.has(_BIND) else (_BIND,) if any(map(strong.has, _ADDRESS)) else ()
        for weak in layers[:index]:
            for key in filter(weak.has, losers):
                winner = _BIND if strong.has(_BIND) else next(filter(strong.has, _ADDRESS))
                notes.append(
                    f"{'.'.join(key)} ({weak.origin(key)}) is not used: {strong.origin(winner)} comes before it"
                )
                weak.drop(key)
    return notes


def cross_problems(settings: Settings, origin: Callable[[Key], str]) -> list[str]:
    """Settings that are each right and together wrong."""
    problems = []
    if settings.restarts.backoff_max < settings.restarts.backoff_initial:
        problems.append(
            f"{origin(('restarts', 'backoff_max'))}: restarts.backoff_max = {settings.restarts.backoff_max:g}s: "
            f"allowed: at least restarts.backoff_initial, {settings.restarts.backoff_initial:g}s"
        )
    if settings.app.group is not None and settings.app.user is None:
        problems.append(
            f"{origin(('app', 'group'))}: app.group is set and app.user is not; allowed: both, or app.user alone"
        )
    for table, names in (
        ("steps", [s.name for s in settings.steps]),
        ("companions", [c.name for c in settings.companions]),
    ):
        problems += [
            f"{origin((table,))}: {table}: two are named {name}; allowed: a name of its own for each"
            for name in sorted({name for name in names if names.count(name) > 1})
        ]
    workers = settings.replication.workers
    if isinstance(workers, ScaleSettings) and isinstance(workers.max, int) and workers.min > workers.max:
        where = origin(("replication", "workers"))
        problems.append(f"{where}: replication.workers: min = {workers.min} is above max = {workers.max}")
    binds = settings.http.bind
    twice = sorted({bind for bind in binds if binds.count(bind) > 1})
    return problems + [f"{origin(_BIND)}: http.bind names {bind} twice" for bind in twice]


def notes_of(settings: Settings, is_set: Callable[[Key], bool], origin: Callable[[Key], str]) -> list[str]:
    """Values that were set and have no effect."""
    return [
        f"{'.'.join(key)} ({origin(key)}) has no effect: {why}"
        for key, (idle, why) in _WITHOUT_EFFECT.items()
        if is_set(key) and idle(settings)
    ]
