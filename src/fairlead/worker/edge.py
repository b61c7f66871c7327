"""The worker's side of HTTPS: what each listening socket speaks, the certificates, and ACME's challenges."""

import ssl
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from time import monotonic
from typing import Any

from fairlead.https.redirect import Answers, RedirectProtocol
from fairlead.https.store import Store
from fairlead.https.tls import ignore_strange_names
from fairlead.plan.model import Plan
from fairlead.worker.accept import Door
from fairlead.worker.context import WorkerContext
from fairlead.worker.state import WorkerState

App = Callable[..., Any]


def guard(app: App, plan: Plan) -> App:
    """The app; where plain HTTP reaches it, behind what answers ACME challenges."""
    https = plan.https
    if https.http != "serve" or not any(certificate.source == "acme" for certificate in https.certificates):
        return app
    answers = Answers(Store(Path(https.store)), tuple, https.https_port)

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        answer = answers.challenge(scope["path"]) if scope["type"] == "http" else None
        if answer is None:
            await app(scope, receive, send)
            return
        headers = [(b"content-type", b"application/octet-stream"), (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    return guarded


class Edge:
    """What one worker needs to speak HTTPS and plain HTTP beside it. Without certificates in the plan it is all plain."""

    def __init__(self, context: WorkerContext, state: WorkerState) -> None:
        self._context = context
        self._state = state
        self._https = context.plan.https
        self._log = context.log
        self._store = Store(Path(self._https.store))
        self._certificates = context.certificates
        if self._certificates is not None:
            ignore_strange_names()
            state.tls_extension = self._certificates.extension
            state.hsts = self._https.tls.hsts.encode()
        self.load()

    def load(self, keys: Iterable[str] | None = None) -> None:
        """Takes certificates from the store: all, or those that were swapped. What goes wrong is said, the former one stays."""
        if self._certificates is not None:
            for problem in self._certificates.load(self._store, keys):
                self._log.error("certificate.unusable", cause=problem)

    def doors(self, make_protocol: Callable[[bool], Any]) -> list[Door]:
        """A door for each listening socket. `make_protocol` makes that of a connection to the app, secure or not."""
        spoken = [bind.speaks for bind in self._context.plan.binds]
        spoken += ["http"] * (len(self._context.listeners) - len(spoken))
        answers = Answers(self._store, self._names, self._https.https_port)

        def door(listener: Any, speaks: str) -> Door:
            if speaks == "redirect":
                return Door(listener, lambda: Redirect(answers, self._state))
            context: ssl.SSLContext | None = None
            if speaks == "https" and self._certificates is not None:
                context = self._certificates.base
            return Door(listener, lambda: make_protocol(context is not None), context)

        return [door(listener, speaks) for listener, speaks in zip(self._context.listeners, spoken, strict=False)]

    def _names(self) -> Collection[str]:
        """What may be redirected to: what the plan names; what the certificates name, where it does not."""
        names = {name for certificate in self._https.certificates for name in certificate.names}
        return names or (self._certificates.names if self._certificates is not None else ())


class Redirect(RedirectProtocol):
    """A connection of plain HTTP, counted and drained like any other. See state.Connection."""

    client: Any = None
    server: Any = None
    transport: Any = None

    def __init__(self, answers: Answers, state: WorkerState) -> None:
        super().__init__(answers)
        self._state = state
        self._idle_at = 0.0

    def connection_made(self, transport: Any) -> None:
        """Takes its place among the open connections."""
        super().connection_made(transport)
        self.transport = transport
        self._idle_at = monotonic()
        self._state.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """It is no longer idle: its answer, or its deadline, ends it."""
        self._idle_at = 0.0
        super().data_received(data)

    def connection_lost(self, error: Exception | None) -> None:
        """Counts it out."""
        super().connection_lost(error)
        self._state.connections.discard(self)
        self._state.closed()

    def idle_since(self) -> float:
        return self._idle_at

    def used(self) -> bool:
        return False

    def look(self, now: float) -> None:
        """Nothing: it has a deadline of its own."""

    def close_idle(self) -> None:
        self.transport.close()

    def abort(self) -> None:
        self.transport.abort()
