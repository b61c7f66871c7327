import pytest

from fairlead.commands import parse_command


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("alembic upgrade head", ("alembic", "upgrade", "head")),
        ('python -m app "two words"', ("python", "-m", "app", "two words")),
        ("manage.py migrate --settings=a.b,c", ("manage.py", "migrate", "--settings=a.b,c")),
        ("say 'a;b && c'", ("say", "a;b && c")),
        (["sh", "-c", "a && b > $C"], ("sh", "-c", "a && b > $C")),
    ],
)
def test_command_is_split_as_a_shell_splits_it_and_a_list_is_taken_as_it_is(written, words):
    assert parse_command(written) == words


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("a && b", "&&"),
        ("a > b", ">"),
        ("a;b", ";"),
        ("a | b", "|"),
        ("a $HOME", "$"),
        ("a `b`", "`"),
        ("a\0b", "NUL"),
        (["a", "b\0"], "NUL"),
        ("a 'b", "no closing quotation"),
        ("", "empty"),
        ([], "a list of words"),
        (["a", ""], "a list of words"),
        (7, "a list of words"),
    ],
)
def test_command_that_only_a_shell_understands_is_refused(written, told):
    with pytest.raises(ValueError, match=r"allowed|shell|split") as caught:
        parse_command(written)
    assert told in str(caught.value)
