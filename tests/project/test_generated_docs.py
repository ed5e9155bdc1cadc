"""The generated pages are those that the code would generate now, and the page of the HTTP API leaves nothing out."""

from __future__ import annotations

import re
from math import inf

import pytest

from lakehouse import Answer, Request
from lakehouse.asgi.middleware.auth import HEALTH_PATHS
from lakehouse.chat.api.routes import VERSION, chat_paths
from lakehouse.chat.dispatch.policies.failure_rules import FAILURE_RULES
from lakehouse.core.failure_classes import ERROR_CLASSES
from lakehouse.core.provider_failures import FAILURE_MEANINGS
from lakehouse.gateway.routes import ROUTES
from lakehouse.runtime.console.endpoints import PATHS
from tools.kit.doc_pages import configuration_reference
from tools.kit.doc_pages.configuration_reference import COMMENTED, PAGE, ROOT, read_comments
from tools.kit.doc_pages.openapi.schemas import error_types


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


def test_the_page_of_the_http_api_has_every_error_and_every_route() -> None:
    page = (ROOT / "docs/http-api.md").read_text()
    codes = {kind.code for kind in error_types()}
    names = {*codes, *ERROR_CLASSES, *chat_paths(VERSION), *PATHS, *(route.name for route in ROUTES)}
    names |= {path.decode() for path in HEALTH_PATHS}
    names |= set(Request.__struct_fields__) | set(Answer.__struct_fields__)
    assert [name for name in sorted(names) if not re.search(rf"[`\s\"/]{re.escape(name)}[`\"/\s*]", page)] == []


def test_the_table_of_error_classes_is_true() -> None:
    page = (ROOT / "docs/http-api.md").read_text()
    table = page.partition("| class | status |")[2].partition("\n\n")[0]
    told: dict[str, tuple[int, str, str]] = {}
    for row in table.split("\n")[2:]:
        classes, status, retried, onward = (cell.strip() for cell in row.strip("|").split("|"))
        told |= {name: (int(status), retried.partition(",")[0], onward) for name in re.findall(r"`(\w+)`", classes)}
    retries = {inf: "yes", 1: "once", 0: "no"}
    assert told == {
        name: (FAILURE_MEANINGS[name].error.status, retries[rule.retries], "yes" if rule.try_next_route else "no")
        for name, rule in FAILURE_RULES.items()
    }
