"""Values that come as text, from the environment or a flag, into what TOML would have given."""

import json
import tomllib
from typing import Any

from fairlead.config.leaves import Leaf

_BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def from_text(leaf: Leaf, text: str) -> object:
    """The value that `text` means for this setting. What it cannot mean stays text: validation says what is allowed."""
    options = [leaf.schema, *leaf.schema.get("anyOf", ())]
    types = {option.get("type") for option in options}
    if text == "" and "null" in types:
        return None
    if "array" in types:
        return _list(text)
    if "object" in types:
        if text.strip().startswith("{"):
            return _structured(text)
        if "integer" not in types:
            return text
    if "boolean" in types:
        return _BOOLEANS.get(text.strip().lower(), text)
    if "integer" in types and leaf.kind is None:
        return _integer(text)
    return text


def _integer(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:
        return text


def _list(text: str) -> object:
    if text.strip().startswith("["):
        return _structured(text)
    return [part.strip() for part in text.split(",") if part.strip()]


def _structured(text: str) -> Any:
    """JSON, else a TOML value, else the text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text
