"""What a worker is given to serve with: the seam between starting a process and serving in it."""

import socket

from fairlead.host.channel import Channel
from fairlead.https.tls import Certificates
from fairlead.lean_dataclass import dataclass
from fairlead.observability.events import EventLog
from fairlead.observability.scoreboard import Scoreboard
from fairlead.plan.model import Plan
from fairlead.worker.uvicorn_adapter import Config


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """Everything `serving.run_worker` needs. The worker owns it: nothing here is shared with code outside the process."""

    plan: Plan
    config: Config
    """With the loaded ASGI app in it: an instance, a factory is already called. Made before forking."""
    listeners: tuple[socket.socket, ...]
    """Inherited listening sockets, non-blocking, shared by all workers."""
    scoreboard: Scoreboard
    channel: Channel
    """To the supervisor; its end means that the supervisor is gone."""
    log: EventLog
    worker: int
    slot: int
    release: int
    forked: bool
    """Whether it was forked from a template, and so shares its memory."""
    began: float
    """time.monotonic() when the process began."""
    certificates: Certificates | None = None
    """Made before forking, so that every worker resumes the others' TLS sessions; None: plain HTTP."""
