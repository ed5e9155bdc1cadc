"""The generated pages are those that the code would generate now."""

from __future__ import annotations

import pytest

from tools import configuration_reference
from tools.configuration_reference import COMMENTED, PAGE, read_comments


def test_the_configuration_reference_is_up_to_date() -> None:
    rendered = configuration_reference.render(COMMENTED.read_text())
    assert PAGE.read_text() == rendered, "run `python -m tools.configuration_reference`"


def test_a_comment_that_goes_on_in_the_next_lines_is_one_meaning() -> None:
    found = read_comments('[server]  # draining\ncertfile = "a#b"   # a file,\n       # PEM\nkeyfile = ""\n')
    assert found.tables == {"server": "draining"}
    assert found.entries["server.certfile"] == configuration_reference.Entry('"a#b"', "a file, PEM")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("drain_timeout = ", "drain_time = ", "has keys that no table has: server.drain_time"),
        ('certfile = ""', '# certfile = ""', "does not have the key server.certfile"),
        ("# largest body of a chat request", "", "has no comment for chatd.max_body"),
    ],
)
def test_a_file_that_disagrees_with_the_tables_is_an_error(old: str, new: str, problem: str) -> None:
    text = COMMENTED.read_text()
    assert old in text
    with pytest.raises(LookupError, match=problem):
        configuration_reference.render(text.replace(old, new))
