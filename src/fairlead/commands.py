"""Commands as people write them in the configuration: one program with its arguments, never a shell's line."""

import shlex

_OPERATORS = frozenset("();<>|&")
_HINT = 'for a shell, write ["sh", "-c", "…"]'


def parse_command(value: object) -> tuple[str, ...]:
    """The words of a command: a text is split as a shell would, a list is taken as it is.

    ValueError when a shell would have done more with it than split it: it would silently mean something else here.
    """
    if any(isinstance(text, str) and "\0" in text for text in (value if isinstance(value, list | tuple) else [value])):
        raise ValueError("it has a NUL in it; allowed: any other character")
    if isinstance(value, str):
        return _split(value)
    if isinstance(value, list | tuple) and value and all(isinstance(word, str) and word for word in value):
        return tuple(value)
    raise ValueError("allowed: a text such as 'alembic upgrade head', or a list of words")


def _split(text: str) -> tuple[str, ...]:
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        words = tuple(lexer)
    except ValueError as error:
        raise ValueError(f"it cannot be split into words ({str(error).lower()})") from None
    if not words:
        raise ValueError("it is empty; allowed: a program and its arguments")
    if found := next((word for word in words if set(word) <= _OPERATORS), None):
        raise ValueError(f"it has the shell's {found} in it; allowed: one program with its arguments; {_HINT}")
    if "$" in text or "`" in text:
        raise ValueError(f"it has a shell's $ or ` in it, which would stay as they are; {_HINT}")
    return words
