"""Compiles the modules that every request goes through, when a wheel is built and a C compiler is at hand.

FAIRLEAD_COMPILE=1 asks for it (what is missing is an error), FAIRLEAD_COMPILE=0 leaves all as Python. As a program it says whether
compiling is possible.
"""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_FOLDER = Path("fairlead/worker/http1")
_COMPILER = ["mypy[mypyc]==2.4.1", "setuptools>=77"]
"""mypy's version is one that the tests have run with: it makes the code that runs."""
_BUILD = """
import sys
from mypyc.build import mypycify
from setuptools import Distribution

target, *paths = sys.argv[1:]
# Of other packages nothing is believed: what they call bytes may be None, and the code must not depend on what is installed.
options = ["--config-file=", "--no-site-packages", "--ignore-missing-imports", "--follow-imports=silent", "--no-incremental"]
extensions = mypycify([*options, *paths], target_dir=f"{target}/c", group_name="fairlead.worker.http1.compiled")
command = Distribution({"name": "fairlead", "ext_modules": extensions}).get_command_obj("build_ext")
command.build_lib, command.build_temp = f"{target}/lib", f"{target}/temp"
command.ensure_finalized()
command.run()
"""


class CompileHook(BuildHookInterface[Any]):
    """Called by hatchling."""

    def dependencies(self) -> list[str]:
        """What the build needs besides."""
        return _COMPILER if self._wanted() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Puts the compiled modules beside their sources, in the wheel."""
        if not self._wanted(version):
            return
        self._target = tempfile.mkdtemp(prefix="fairlead-build-")
        source = Path(self.root, "src")
        paths = sorted(
            str(_FOLDER / path.name) for path in (source / _FOLDER).glob("*.py") if path.name != "__init__.py"
        )
        done = subprocess.run(
            [sys.executable, "-c", _BUILD, self._target, *paths],
            cwd=source,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            self.finalize()
            lines = "\n".join((done.stdout + done.stderr).splitlines()[-30:])
            raise SystemExit(f"{lines}\ncannot compile {_FOLDER}: see above; FAIRLEAD_COMPILE=0 builds without")
        library = Path(self._target, "lib")
        build_data["force_include"].update(
            {str(path): str(path.relative_to(library)) for path in library.rglob("*.so")}
        )
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, *_: Any) -> None:
        """Clears up."""
        if target := getattr(self, "_target", None):
            shutil.rmtree(target)

    def _wanted(self, version: str = "standard") -> bool:
        if self.target_name != "wheel" or version == "editable":
            return False
        wish = os.environ.get("FAIRLEAD_COMPILE", "")
        if wish not in ("", "0", "1"):
            raise SystemExit(
                f"cannot build: FAIRLEAD_COMPILE is {wish!r}; allowed: 0, 1, or nothing: where it is possible"
            )
        missing = _missing()
        if wish == "1" and missing:
            raise SystemExit(f"cannot compile, as FAIRLEAD_COMPILE=1 asks: {missing}")
        return wish != "0" and not missing


def _missing() -> str:
    """What is needed to compile, and is not there."""
    if sys.implementation.name != "cpython":
        return f"this is {sys.implementation.name}, not CPython"
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
    if shutil.which(compiler) is None:
        return f"the C compiler {compiler} is not installed"
    header = Path(sysconfig.get_path("include"), "Python.h")
    return "" if header.is_file() else f"Python's headers are not installed ({header} is missing)"


if __name__ == "__main__":
    sys.exit(f"cannot compile: {_missing()}" if _missing() else 0)
