"""Which module the app is in, as `fastapi run` finds it. Nothing is imported: that is the template's work."""

import keyword
from pathlib import Path

from fairlead.errors import InputError
from fairlead.lean_dataclass import dataclass

_NAMES = ("main.py", "app.py", "api.py")
_PLACES = (*_NAMES, *(f"app/{name}" for name in _NAMES))
_TARGET_HELP = 'allowed: a file ("main.py"), a module ("pkg.mod"), or either with an attribute ("pkg.mod:app")'


@dataclass(frozen=True, slots=True)
class FoundApp:
    """`module` is importable with `folder` first on sys.path; `attribute` None: the app is to be looked for in it."""

    module: str
    attribute: str | None
    folder: Path
    file: Path | None
    note: str


def find_app(target: str | None, factory: bool, base: Path, folder: Path | None) -> FoundApp:
    """The app of `target`, or the one that lies in `folder` (else `base`). InputError says what was looked for.

    `folder` is the import root when the person named one; otherwise a file's own place decides about it.
    """
    root = base if folder is None else folder
    if folder is not None and not folder.is_dir():
        raise InputError(f"cannot find the app: app.dir {folder} is no folder")
    if target is None:
        path, attribute = _find_file(root), None
    else:
        name, attribute = _split(target)
        if "/" not in name and not name.endswith(".py"):
            # Behind a link: what this release imports later comes from where the rest of it came from.
            return _as_module(name, _checked_factory(attribute, factory, target), root.resolve())
        path = _checked_file(root / name)
    module, import_root = _module_of(path, folder)
    attribute = _checked_factory(attribute, factory, f"{module}")
    note = f"found the app in {_near(path, base)}, imported as {module} from {import_root}"
    return FoundApp(module, attribute, import_root, path, note)


def _find_file(root: Path) -> Path:
    """The first of the usual places; else one of them in the only package beside."""
    for place in _PLACES:
        if (root / place).is_file():
            return (root / place).resolve()
    packages = sorted(init.parent for init in root.glob("*/__init__.py"))
    found = [
        next(path for name in _NAMES if (path := package / name).is_file()) for package in packages if _holds(package)
    ]
    if len(found) == 1:
        return found[0].resolve()
    if found:
        names = ", ".join(str(path.relative_to(root)) for path in found)
        raise InputError(
            f"cannot choose the app in {root}: {names} could each be it; name one: fairlead run {found[0].relative_to(root)}"
        )
    raise InputError(
        f"cannot find the app in {root}: looked for {', '.join(_PLACES)}, and for one of {', '.join(_NAMES)} in a package; "
        "name its file or module, such as: fairlead run src/shop/web.py"
    )


def _holds(package: Path) -> bool:
    return any((package / name).is_file() for name in _NAMES)


def _split(target: str) -> tuple[str, str | None]:
    """Module or file, and attribute, of `target`."""
    name, colon, attribute = target.partition(":")
    is_file = "/" in name or name.endswith(".py")
    if not name or (not is_file and not _is_dotted(name)):
        raise InputError(f"cannot use the target {target!r}; {_TARGET_HELP}")
    if colon and attribute.endswith("()"):
        raise InputError(f"cannot use the target {target!r}: for a function, give --factory and {target[:-2]!r}")
    if colon and not _is_dotted(attribute):
        raise InputError(f"cannot use the target {target!r}: {attribute!r} is no attribute; {_TARGET_HELP}")
    return name, attribute or None


def _is_dotted(name: str) -> bool:
    return all(part.isidentifier() and not keyword.iskeyword(part) for part in name.split("."))


def _checked_factory(attribute: str | None, factory: bool, target: str) -> str | None:
    if factory and attribute is None:
        raise InputError(f"cannot use --factory with {target!r}: name the function, such as {target}:create_app")
    return attribute


def _as_module(name: str, attribute: str | None, root: Path) -> FoundApp:
    """A target that was given as a module. Where its file is, is only for messages: it may be an installed package."""
    place = root.joinpath(*name.split("."))
    file = next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)
    return FoundApp(name, attribute, root, file, f"the app is the module {name}, imported from {root}")


def _checked_file(path: Path) -> Path:
    if not path.exists():
        raise InputError(f"cannot find the app: no file {path}")
    if path.is_dir() or path.suffix != ".py":
        raise InputError(
            f"cannot use {path} as the app: it is {'a folder' if path.is_dir() else 'no .py file'}; {_TARGET_HELP}"
        )
    return path.resolve()


def _module_of(path: Path, folder: Path | None) -> tuple[str, Path]:
    """The dotted name of a file and the folder it is imported from."""
    parts = path.parent if path.name == "__init__.py" else path.with_suffix("")
    if folder is not None:
        root = folder.resolve()
        if not path.is_relative_to(root):
            raise InputError(f"cannot use {path} as the app: it is not below app.dir {root}")
    else:
        root = parts.parent
        while (root / "__init__.py").is_file():
            root = root.parent
    module = ".".join(parts.relative_to(root).parts)
    if not _is_dotted(module):
        raise InputError(
            f"cannot use {path} as the app: {module!r} cannot be imported; allowed: Python names, no keywords"
        )
    return module, root


def _near(path: Path, base: Path) -> str:
    base = base.resolve()
    return str(path.relative_to(base)) if path.is_relative_to(base) else str(path)
