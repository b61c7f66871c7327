"""A Dockerfile: dependencies apart from code, no compiler in the image that runs, nobody in particular as its user."""

import json
from pathlib import PurePosixPath

from fairlead import __version__
from fairlead.errors import InputError
from fairlead.plan.model import Bind
from fairlead.targets.model import Care, File, Site, Target, Who, one_line

UID = 10001
CARES = {
    "https": Care(Who.FAIRLEAD, "with a volume for certificates; or leave it to a proxy in front"),
    "startup": Care(Who.RENDERED, "HEALTHCHECK, TERM drains; the engine's restart policy starts it"),
    "restarts": Care(Who.FAIRLEAD, "of workers, as PID 1 of the container"),
    "replication": Care(Who.FAIRLEAD, "workers follow the container's CPU limit"),
    "memory": Care(Who.FAIRLEAD, "within the container's limit (docker run --memory)"),
    "steps": Care(Who.FAIRLEAD, "before a release serves, in the container"),
}
_IGNORED = """\
.git
.venv
venv
__pycache__
*.pyc
*.db
.env
.env.*
Dockerfile
.dockerignore
compose.yaml
"""
# In every container /dev/shm can be written to, also with a read-only root.
_RUNTIME = "/dev/shm/fairlead"  # noqa: S108
_INSTALL_FAIRLEAD = '/venv/bin/python -c "import fairlead" 2>/dev/null'


def render(site: Site) -> list[File]:
    """Dockerfile and .dockerignore."""
    plan = site.plan
    ports = " ".join(str(port) for port in ports_of(site))
    expose = f"EXPOSE {ports}\n" if ports else ""
    text = f"""\
ARG PYTHON=python:{site.python}-slim

FROM $PYTHON AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
RUN python -m venv /venv
{_dependencies(site)}
FROM $PYTHON
RUN mkdir -p {state_of(site)} && chown {UID}:{UID} {state_of(site)}
COPY --from=build /venv /venv
WORKDIR /app
COPY . .
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 FAIRLEAD_RUNTIME_DIR={_RUNTIME} STATE_DIRECTORY={state_of(site)}
USER {UID}:{UID}
{expose}STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period={round(plan.startup.import_timeout)}s --retries=3 \\
    CMD {json.dumps(health_check(site))}
CMD {json.dumps(command(site))}
"""
    return [File("Dockerfile", text), File(".dockerignore", _IGNORED)]


def state_of(site: Site) -> str:
    """The folder for state and certificates in the container."""
    return f"/var/lib/{site.plan.name}"


def command(site: Site) -> list[str]:
    """What the container runs. Everything in it is the app's, so it listens everywhere unless places are listed."""
    config = ["--config", one_line(site.config, "the configuration")] if site.config else []
    return ["fairlead", "run", *config, "--name", site.plan.name, *([] if site.listed else ["--host", "0.0.0.0"])]  # noqa: S104


def ports_of(site: Site) -> list[int]:
    """The TCP ports that can be reached from outside of the container."""
    tcp = [bind for bind in site.plan.binds if bind.kind == "tcp"]
    open_ports = [bind.port for bind in tcp if not site.listed or not _is_loopback(bind)]
    if tcp and not open_ports:
        raise InputError(
            f"cannot run in a container: http.bind has only {', '.join(map(str, tcp))}, which nobody outside reaches; "
            "allowed: 0.0.0.0, [::] or a unix socket on a volume"
        )
    return list(dict.fromkeys(open_ports))


def health_check(site: Site) -> list[str]:
    """A request to the app's own health path, or a connection where it has none or is behind TLS."""
    tcp = [bind for bind in site.plan.binds if bind.kind == "tcp"]
    bind = next((bind for bind in tcp if bind.speaks == "http"), tcp[0] if tcp else None)
    if bind is None:
        return ["fairlead", "status", "--name", site.plan.name, "--json"]
    fixed = site.listed or bind.speaks != "http" or not site.takes_port
    port = str(bind.port) if fixed else f'" + os.environ.get("PORT", "{bind.port}") + "'
    host = _inside(bind.host) if site.listed else "127.0.0.1"
    path = one_line(site.plan.startup.probe or "", "startup.probe")
    if path and bind.speaks == "http":
        script = f'import os, urllib.request; urllib.request.urlopen("http://{host}:{port}{path}", timeout=4)'
    else:
        script = f'import os, socket; socket.create_connection(("{host.strip("[]")}", int("{port}")), 4)'
    return ["python", "-c", script]


def _inside(host: str) -> str:
    """Where the container itself reaches an address."""
    if host == "0.0.0.0":  # noqa: S104
        return "127.0.0.1"
    return f"[{'::1' if host == '::' else host}]" if ":" in host else host


def _is_loopback(bind: Bind) -> bool:
    return bind.host in ("localhost", "::1") or bind.host.startswith("127.")


def _dependencies(site: Site) -> str:
    """Everything that is installed, in layers that a change of code leaves as they are."""
    fairlead = f"fairlead=={__version__}"
    match site.lock:
        case "uv.lock":
            return f"""\
RUN python -m venv /uv && /uv/bin/pip install uv
COPY pyproject.toml uv.lock ./
ENV UV_PROJECT_ENVIRONMENT=/venv UV_PYTHON_DOWNLOADS=never UV_COMPILE_BYTECODE=1 UV_NO_CACHE=1
RUN /uv/bin/uv sync --frozen --no-dev --no-install-project
RUN {_INSTALL_FAIRLEAD} || /uv/bin/uv pip install --python /venv/bin/python {fairlead}
"""
        case "requirements.txt":
            return f"""\
{_copies(("requirements.txt", *site.lock_parts))}\
RUN /venv/bin/pip install --requirement requirements.txt
RUN {_INSTALL_FAIRLEAD} || /venv/bin/pip install --constraint requirements.txt {fairlead}
"""
        case "pyproject.toml":
            script = "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\\n')"
            return f"""\
COPY pyproject.toml ./
RUN python -c "{script}" > requirements.txt
RUN /venv/bin/pip install --requirement requirements.txt
RUN {_INSTALL_FAIRLEAD} || /venv/bin/pip install {fairlead}
"""
    raise InputError(
        f"cannot write a Dockerfile: nothing in {site.plan.cwd} says what the app depends on; "
        "allowed: uv.lock, requirements.txt (`poetry export` and `pip freeze` write one), or pyproject.toml with project.dependencies"
    )


def _copies(files: tuple[str, ...]) -> str:
    """Each file to where it is in the app's folder."""
    lines = []
    for file in files:
        to = f"./{PurePosixPath(file).parent}/".replace("/./", "/")
        plain = one_line(file, "the file").isascii() and not set(file) & set(' \\"[]*?$#')
        lines.append(f"COPY {file} {to}\n" if plain else f"COPY {json.dumps([file, to])}\n")
    return "".join(lines)


TARGET = Target(
    "dockerfile",
    "a Dockerfile and a .dockerignore, for the app's folder",
    render,
    CARES,
    "docker build -t IMAGE . && docker run --read-only --tmpfs /tmp -p PORT:PORT IMAGE",
)
