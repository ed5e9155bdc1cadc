"""A small set without a download: the docstrings of Python's standard library, whose first lines ask for the rest."""

from __future__ import annotations

import ast
import inspect
import sysconfig
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from tools.kit.question_sets import QuestionSet, make_set

MODULES = (
    "argparse", "ast", "asyncio", "bdb", "calendar", "codecs", "collections", "concurrent", "configparser", "csv",
    "datetime.py", "_pydatetime.py", "decimal.py", "_pydecimal.py", "difflib", "doctest", "email", "fractions", "ftplib",
    "functools", "gettext", "heapq", "html", "http", "imaplib", "importlib", "inspect", "ipaddress", "json", "logging",
    "mailbox", "mimetypes", "multiprocessing", "optparse", "os", "pathlib", "pickle", "platform", "plistlib", "poplib",
    "pydoc", "random", "shelve", "shutil", "smtplib", "socket", "socketserver", "ssl", "statistics", "string",
    "subprocess", "tarfile", "tempfile", "textwrap", "threading", "tokenize", "traceback", "turtle", "typing",
    "unittest", "urllib", "uuid", "wave", "weakref", "xml", "xmlrpc", "zipfile",
)  # fmt: skip


def read_docstrings() -> QuestionSet:
    """`doc`: about 1,300 docstrings; their number depends on the version of Python."""
    library = Path(sysconfig.get_path("stdlib"))
    pairs: list[tuple[str, str]] = []
    for name in MODULES:
        place = library / name
        files = sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
        for file in files:
            if file.is_file() and "test" not in file.parts:
                pairs += read_file(file)
    return make_set("doc", pairs, shortest=100)


def read_file(file: Path) -> list[tuple[str, str]]:
    """First line and rest of each docstring of a module."""
    found = []
    for node in walk_statements(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first, _, rest = inspect.cleandoc(ast.get_docstring(node) or "").partition("\n")
            if len(first.split()) >= 4:
                found.append((first, rest))
    return found


def walk_statements(tree: ast.Module) -> Iterator[ast.AST]:
    """What has statements in it, in the order of `ast.walk`, which takes three times as long for the expressions."""
    waiting: deque[ast.AST] = deque([tree])
    while waiting:
        node = waiting.popleft()
        yield node
        for name in ("body", "handlers", "orelse", "finalbody", "cases"):
            inner = getattr(node, name, ())
            if isinstance(inner, list):  # the body of an expression is one expression
                waiting.extend(inner)
