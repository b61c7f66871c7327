"""Where a command is given. A module of its own because `fairlead run` asks first of all, and imports little for it."""

import os
from pathlib import Path

from fairlead.errors import InputError


def working_folder() -> Path:
    """The working folder, as the shell names it (PWD) when that is where we are; InputError when it is gone.

    The kernel only knows the folder behind a link, so a reload would never see where `current` points to by then.
    """
    try:
        folder = Path.cwd()
    except OSError as error:
        raise InputError(f"cannot use the working folder: {error.strerror}; change to one that exists") from error
    named = Path(os.environ.get("PWD", ""))
    try:
        return named if named.is_absolute() and named.samefile(folder) else folder
    except OSError:
        return folder
