"""The configuration as a whole: file under environment under flags, validated at once."""

from collections.abc import Mapping
from pathlib import Path

from fairlead.config.checks import cross_problems, exclusive_problems, notes_of, settle_address
from fairlead.config.files import ConfigFile, Key, read_config
from fairlead.config.layers import Layer, environment_layer, file_layer, flag_layer, nested, platform_layer
from fairlead.config.leaves import all_leaves, leaf_at
from fairlead.config.problems import layer_problems, merged_problems
from fairlead.config.settings import Settings
from fairlead.errors import InputError
from fairlead.lean_dataclass import dataclass

Flags = Mapping[str, tuple[Key, object]]


@dataclass(frozen=True, slots=True)
class Loaded:
    """Valid settings. `origins` says of every key where its value comes from (`default` included); paths are absolute."""

    settings: Settings
    origins: dict[Key, str]
    folders: dict[Key, Path]
    notes: tuple[str, ...]
    file: ConfigFile | None
    folder: Path
    """The configuration file's folder, or the working one."""


def load(cwd: Path, environ: Mapping[str, str], flags: Flags, explicit: str | None = None) -> Loaded:
    """Reads and validates everything. InputError names all that is wrong, a line each."""
    file = read_config(cwd, environ, explicit)
    layers = [platform_layer(environ, cwd)]
    layers += [file_layer(file)] if file else []
    layers += [environment_layer(environ, cwd), flag_layer(flags, cwd)]
    _refuse([line for layer in layers for line in (*layer_problems(layer), *exclusive_problems(layer))])
    notes = settle_address(layers)
    setter = {key: layer for layer in layers for key in all_leaves() if layer.has(key)}
    merged = nested({key: layer.get(key) for key, layer in setter.items()})
    _refuse(merged_problems(merged, lambda place: _origin(place, layers, setter)))
    settings = Settings.model_validate(merged)
    origins = {key: setter[key].origin(key) if key in setter else "default" for key in all_leaves()}
    _refuse(cross_problems(settings, origins.__getitem__))
    notes += notes_of(settings, setter.__contains__, origins.__getitem__)
    folder = file.folder if file else cwd
    folders = {key: setter[key].folder if key in setter else folder for key in all_leaves()}
    return Loaded(settings, origins, folders, tuple(notes), file, folder)


def _origin(place: Key, layers: list[Layer], setter: dict[Key, Layer]) -> str:
    """Who says what is wrong at `place`: one source for a setting, all that have a part in it for a table."""
    leaf = leaf_at(place)
    if leaf is not None and leaf.key in setter:
        return setter[leaf.key].origin(place)
    return ", ".join(layer.origin(place) for layer in layers if layer.has(place[:1]))


def _refuse(problems: list[str]) -> None:
    if problems:
        raise InputError("\n  ".join(["cannot use the configuration:", *problems]))
