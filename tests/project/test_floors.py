"""The rules of CONTRIBUTING.md that a machine can check: which package imports which, and what no file may have in it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest

from tools.kit.doc_pages.floors import PAGE, insert, read_floors

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "lakehouse"
FILES = sorted(PACKAGE.rglob("*.py"))
THE_PACKAGE_ITSELF = ("lakehouse/__init__.py", "lakehouse/__main__.py")

FRAMEWORKS = {"quart", "quart_trio", "hypercorn", "werkzeug", "flask"}
MACHINERY = {"trio", "httpx", "socket", "ssl", "time", "asyncio", "anyio", "threading"}


@cache
def tree_of(file: Path) -> ast.AST:
    """A file, parsed."""
    return ast.parse(file.read_text())


FLOORS, ABOUT = read_floors()


def room(path: str) -> tuple[int, str]:
    """The floor and the package of a file: the longest prefix that fits."""
    found = [(len(name), floor, name) for floor, names in enumerate(FLOORS) for name in names if fits(path, name)]
    assert found, f"{path} is on no floor of [tool.lakehouse.floors]"
    _, floor, name = max(found)
    return floor, name


def fits(path: str, name: str) -> bool:
    """Whether a file belongs to a package of that name: a directory, or the file itself."""
    return path == f"lakehouse/{name}" or (name.endswith("/") and path.startswith(f"lakehouse/{name}"))


def imports(file: Path) -> Iterator[str]:
    """The modules that a file imports, wherever in it, as they are written."""
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            module = node.module or ""
            parts = [f"{module}.{alias.name}" for alias in node.names]
            yield from (part if path_of(part) else module for part in parts)


def path_of(module: str) -> str | None:
    """The file of a module of this project, or None for any other module."""
    place = ROOT / module.replace(".", "/")
    for path in (place.with_suffix(".py"), place / "__init__.py"):
        if module.startswith("lakehouse") and path.is_file():
            return str(path.relative_to(ROOT))
    return None


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


def packages_of(files: Iterable[Path]) -> pytest.MarkDecorator:
    """One test for each top-level package: one for each of the files would take longer to report than to run."""
    found: dict[str, list[Path]] = {}
    for file in files:
        found.setdefault(file.relative_to(ROOT).parts[1], []).append(file)
    return pytest.mark.parametrize("files", found.values(), ids=list(found))


def test_every_floor_is_described_and_exists() -> None:
    names = [name for floor in FLOORS for name in floor]
    assert sorted(names) == sorted(ABOUT)
    assert [name for name in names if not (PACKAGE / name).exists()] == []


def test_the_picture_of_the_floors_is_up_to_date() -> None:
    page = PAGE.read_text()
    assert page == insert(page), "run `python -m tools.floors`"


@packages_of(file for file in FILES if name_of(file) not in THE_PACKAGE_ITSELF)
def test_a_package_imports_only_from_floors_below(files: Sequence[Path]) -> None:
    found = []
    for file in files:
        floor, here = room(name_of(file))
        for module in imports(file):
            path = path_of(module)
            if path is None or path in THE_PACKAGE_ITSELF:
                continue
            below, there = room(path)
            if here != there and floor >= below:
                found.append(f"{name_of(file)}: {here} imports {there} ({module}), which is not below it")
    assert found == []


def test_one_file_alone_imports_both_groups_of_routes() -> None:
    importers = {
        name_of(file)
        for file in FILES
        if {"chat/api/", "gateway/"}
        <= {room(path)[1] for path in map(path_of, imports(file)) if path and path not in THE_PACKAGE_ITSELF}
    }
    assert importers == {"lakehouse/runtime/app.py"}


def test_the_dispatcher_knows_no_web_framework_and_a_dialect_no_clock() -> None:
    for file in FILES:
        tops = {module.partition(".")[0] for module in imports(file)}
        name = room(name_of(file))[1] if name_of(file) not in THE_PACKAGE_ITSELF else ""
        if name.startswith("chat/") and name != "chat/api/":
            assert not tops & (FRAMEWORKS | {"socket"}), file
        if name == "chat/dialects/" and file.name != "classifier.py":  # it compares the date in `Retry-After` with now
            assert not tops & MACHINERY, file


def handlers(tree: ast.AST) -> Iterator[ast.ExceptHandler]:
    """Those that catch everything, cancellation included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            if any(kind is None or (isinstance(kind, ast.Name) and kind.id == "BaseException") for kind in kinds):
                yield node


@packages_of(FILES)
def test_what_catches_everything_raises_it_again(files: Sequence[Path]) -> None:
    found = [(file, handler) for file in files for handler in handlers(tree_of(file))]
    wrong = [f"{file}:{handler.lineno}" for file, handler in found if not isinstance(handler.body[-1], ast.Raise)]
    assert wrong == []


def shields(tree: ast.AST) -> Iterator[ast.Call]:
    """The cancel scopes that are shields from the beginning."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and any(word.arg == "shield" for word in node.keywords):
            yield node


BOUNDED_LATER = {"lakehouse/chat/dispatch/policies/disconnect_grace.py"}
"""Its shield gets its deadline with the cancellation that it holds off."""


def is_bounded(call: ast.Call) -> bool:
    """Whether a cancel scope has a deadline."""
    bounds = {word.arg for word in call.keywords} & {"deadline", "relative_deadline"}
    return bool(bounds) or ast.unparse(call.func).endswith(("move_on_after", "move_on_at", "fail_after", "fail_at"))


@packages_of(file for file in FILES if name_of(file) not in BOUNDED_LATER)
def test_a_shield_carries_its_bound(files: Sequence[Path]) -> None:
    calls = [(file, call) for file in files for call in shields(tree_of(file))]
    assert [f"{file}:{call.lineno}" for file, call in calls if not is_bounded(call)] == []


FORBIDDEN = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|/work/|\bsession of the project\b|\bissue #?\d+\b", re.IGNORECASE)


def test_nothing_is_left_to_do_and_the_project_speaks_of_itself_alone() -> None:
    files = [*FILES, *sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "CHANGELOG.md"]
    assert [(name_of(file), found) for file in files if (found := FORBIDDEN.findall(file.read_text()))] == []


SERVICES_MAY_KNOW = ("core/", "config/", "net/", "process/", "upstream/", "asgi/", "telemetry/", "services/contracts/", "services/lake/", "services/postgres/", "services/warehouse/")  # fmt: skip
COMPOSITIONS = ("services/host/", "services/promotion/")
"""The only packages that know several services."""


def service_of(path: str) -> str:
    """The service that a file belongs to: its folder below `services/`, or an empty string."""
    parts = path.removeprefix("lakehouse/").split("/")
    return parts[1] if parts[0] == "services" and len(parts) > 2 else ""


def test_a_service_knows_contracts_and_no_other_service() -> None:
    """What it needs of another one is given to it, which keeps each replaceable by a URL."""
    found = []
    for file in FILES:
        if "services" not in file.relative_to(ROOT).parts or any(package in name_of(file) for package in COMPOSITIONS):
            continue
        own = service_of(name_of(file))
        for module in imports(file):
            path = path_of(module)
            if path is None or path in THE_PACKAGE_ITSELF:
                continue
            below = path.removeprefix("lakehouse/")
            allowed = below.startswith(SERVICES_MAY_KNOW) or below == "services/__init__.py"
            if not allowed and not (own and service_of(path) == own):
                found.append(f"{name_of(file)} imports {module}")
    assert found == []
