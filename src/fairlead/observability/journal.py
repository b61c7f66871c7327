"""systemd's journal: whether a descriptor leads there, and the priorities that it understands."""

import os
from collections.abc import Mapping

PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3}


def leads_to_journal(descriptor: int, environ: Mapping[str, str]) -> bool:
    """Whether the descriptor is the stream that JOURNAL_STREAM names: a log that is redirected is not."""
    stream = environ.get("JOURNAL_STREAM", "")
    if not stream:
        return False
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return stream == f"{status.st_dev}:{status.st_ino}"


def with_priority(text: str, level: str) -> str:
    """The lines of one event, each with its priority before it: the journal takes every line for an entry."""
    mark = f"<{PRIORITIES[level]}>"
    return "".join(mark + line for line in text.splitlines(keepends=True))
