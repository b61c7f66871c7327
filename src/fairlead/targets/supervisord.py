"""Supervisor (supervisord): a program section."""

import shlex

from fairlead.errors import InputError
from fairlead.plan.model import Bind
from fairlead.targets.model import Care, File, Site, Target, Who, one_line, stop_seconds

CARES = {
    "https": Care(Who.FAIRLEAD, "ports below 1024 need supervisord to run as root, and app.user"),
    "startup": Care(
        Who.RENDERED,
        "starts with supervisord; sockets are Fairlead's, so clients are refused while it restarts as a whole",
    ),
    "restarts": Care(Who.FAIRLEAD, "of workers; supervisord restarts the supervisor, but sees no hang"),
    "replication": Care(Who.FAIRLEAD, "numprocs stays 1: the workers are Fairlead's"),
    "memory": Care(Who.FAIRLEAD, "supervisord sets no limits"),
    "steps": Care(Who.FAIRLEAD, "before a release serves"),
}


def render(site: Site) -> list[File]:
    """NAME.conf, for an include of supervisord.conf."""
    plan = site.plan
    # Who binds a port below 1024 must be root; Fairlead itself becomes app.user then.
    as_user = site.user is not None and not any(_is_low(bind) for bind in plan.binds)
    user = f"user={_value(site.user or '', 'the user')}\n" if as_user else ""
    text = f"""\
[program:{plan.name}]
command={_value(shlex.join(site.program), "the command")}
directory={_value(plan.cwd, "the folder")}
{user}environment=PYTHONUNBUFFERED="1"
autostart=true
autorestart=true
; A first start that fails is tried again, a second later each time: after an hour and a half supervisord gives up.
startsecs=5
startretries=100
; TERM goes to the supervisor alone, which drains its workers; what is left after that is killed.
stopsignal=TERM
stopwaitsecs={stop_seconds(plan)}
stopasgroup=false
killasgroup=true
redirect_stderr=true
stdout_logfile=/var/log/supervisor/{plan.name}.log
stdout_logfile_maxbytes=50MB
stdout_logfile_backups=5
"""
    return [File(f"{plan.name}.conf", text)]


def _is_low(bind: Bind) -> bool:
    return bind.kind == "tcp" and 0 < bind.port < 1024


def _value(text: str, what: str) -> str:
    """A value as supervisord reads it, where % begins an expansion. InputError for what it would take for a comment."""
    if " ;" in text or " #" in text:
        raise InputError(
            f"cannot write {what} {text!r} into Supervisor's file: a comment would begin in the middle of it"
        )
    return one_line(text, what).replace("%", "%%")


TARGET = Target(
    "supervisor",
    "a program section for supervisord",
    render,
    CARES,
    "copy NAME.conf to /etc/supervisor/conf.d, then supervisorctl update; "
    "`fairlead reload` (or supervisorctl signal HUP NAME) takes in new code",
)
