"""The pages of the documentation name what exists: files, headings, modules, classes, functions."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
ABOUT_THE_CODE = [
    page for page in PAGES if page.name in ("architecture.md", "glossary.md") or "decisions" in page.parts
]

LINK = re.compile(r"\]\(([^()\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
OTHERS = {"ReverseProxy", "TooSlowError", "TaskStatus", "AsyncClient", "trio_typing", "preexec_fn"}
"""Names of other projects that the package does not use."""

SNAKE = re.compile(r"(?:\w+\.)*[a-z]+(?:_[a-z0-9]+)+(?:\(\))?")
CLASS = re.compile(r"_?[A-Z][a-z]+(?:[A-Z][a-z0-9]*)+")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@cache
def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as the usual sites make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@cache
def modules() -> set[str]:
    """Every Python file of the project, from the root."""
    return {
        str(file.relative_to(ROOT))
        for folder in ("lakehouse", "tests", "tools")
        for file in (ROOT / folder).rglob("*.py")
    }


@cache
def source() -> str:
    """The text of the package and the tools."""
    return "\n".join((ROOT / module).read_text() for module in sorted(modules()) if not module.startswith("tests/"))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for target in LINK.findall(re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)):
        path, _, anchor = target.partition("#")
        if target.startswith(("http://", "https://")):
            continue
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", ABOUT_THE_CODE, ids=name_of)
def test_every_module_class_and_function_that_a_page_names_exists(page: Path) -> None:
    named: list[str] = CODE.findall(page.read_text())
    files = {code for code in named if re.fullmatch(r"[\w/]+\.py", code)}
    unknown = {file for file in files if not any(f"/{module}".endswith(f"/{file}") for module in modules())}
    names = {name for code in named for name in CLASS.findall(code)}
    names |= {name for code in named if SNAKE.fullmatch(code) for name in code.removesuffix("()").split(".")}
    unknown |= {name for name in names - OTHERS if not re.search(rf"\b{name}\b", source())}
    assert unknown == set()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_tool_that_a_page_runs_exists(page: Path) -> None:
    tools = set(re.findall(r"(?:python -m |`)tools\.([a-z_]+)", page.read_text()))
    assert [
        name
        for name in sorted(tools)
        if not any((ROOT / "tools" / f"{name}{end}").exists() for end in (".py", "/__main__.py"))
    ] == []
