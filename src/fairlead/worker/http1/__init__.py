"""What every request goes through: HTTP/1.1 over httptools, and what is written back.

A third of what a request costs beside the app was Python's interpreter here, so where a C compiler is at hand the modules of
this folder are compiled when Fairlead is built (`hatch_build.py`), as they are; in a working copy they run as they are.
Compiled code checks what it is given against the annotations. What comes from an app is therefore `Any` until it was looked at.
"""

import os
from importlib.machinery import EXTENSION_SUFFIXES


def is_compiled() -> bool:
    """Whether this installation's HTTP is compiled. Imports none of it."""
    folder = os.path.dirname(__file__)
    return any(os.path.exists(os.path.join(folder, f"protocol{suffix}")) for suffix in EXTENSION_SUFFIXES)
