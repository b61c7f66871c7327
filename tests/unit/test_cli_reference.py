from pathlib import Path

import pytest

from fairlead.cli.reference import cli_page, configuration_page, states_page
from fairlead.config.leaves import all_leaves

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


@pytest.mark.parametrize(
    ("name", "page"),
    [("configuration.md", configuration_page), ("cli.md", cli_page), ("worker-states.md", states_page)],
)
def test_reference_page_is_current(name, page):
    assert (REFERENCE / name).read_text(encoding="utf-8") == page(), "run python -m fairlead.cli.reference"


def test_every_setting_is_in_the_reference():
    page = configuration_page()
    for leaf in all_leaves().values():
        shown = f"| `{leaf.key[1]}` |" if len(leaf.key) > 1 else f"## `[[{leaf.key[0]}]]`"
        assert shown in page


def test_hidden_flags_are_not_in_the_reference():
    assert "--plan-to" not in cli_page()
