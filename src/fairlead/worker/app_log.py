"""What uvicorn logs about the app (an exception in a request, say) when the app has not set up logging itself."""

import logging

from fairlead.observability.events import EventLog
from fairlead.worker.traces import one_line, user_traceback


class EventHandler(logging.Handler):
    """Writes records as events, as long as nobody else does: the app's own logging comes first, whenever it is set up."""

    def __init__(self, logger: logging.Logger, log: EventLog) -> None:
        super().__init__(logging.WARNING)
        self._logger = logger
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        if self._somebody_else_does():
            return
        error = record.exc_info[1] if record.exc_info else None
        self._log.write(
            "error" if record.levelno >= logging.ERROR else "warning",
            "app.exception" if error is not None else "http.note",
            {
                "cause": one_line(error) if error is not None else None,
                "message": record.getMessage().strip() if error is None else None,
                "traceback": user_traceback(error) if error is not None else None,
            },
        )

    def _somebody_else_does(self) -> bool:
        logger: logging.Logger | None = self._logger
        while logger is not None:
            if any(handler is not self for handler in logger.handlers):
                return True
            logger = logger.parent if logger.propagate else None
        return False


def take_uvicorns_log(log: EventLog) -> None:
    """Sends warnings and errors of the logger `uvicorn.error` to `log`, unless the app's logging takes them."""
    logger = logging.getLogger("uvicorn.error")
    logger.addHandler(EventHandler(logger, log))
