"""Names of columns: blank ones and those that differ in case only get names of their own, and a warning."""

from __future__ import annotations

from collections.abc import Sequence

from lakehouse.services.contracts.write_engine import IngestWarning


def assign_names(names: Sequence[str], *, line: int | None = None) -> tuple[list[str], list[IngestWarning]]:
    """The name of every column, and what was changed.

    A blank name becomes `column1`, `column2` in order of appearance; of names that are equal without regard to case the
    later ones get `_2`, `_3`. No name is given that another column has already, or has in the file.
    """
    taken = {_fold(name) for name in names if name.strip()}
    given: set[str] = set()
    result: list[str] = []
    warnings: list[IngestWarning] = []
    blank = 0
    for position, name in enumerate(names, 1):
        if not name.strip():
            blank += 1
            new, blank = _find_free("column", blank, taken | given)
            message = f"column {position} has no name: it is called {new!r}"
        elif _fold(name) in given:
            new, _ = _find_free(f"{name}_", 2, taken | given)
            message = f"another column has the name {name!r} already: this one is called {new!r}"
        else:
            new, message = name, ""
        if message:
            warnings.append(IngestWarning(column=new, line=line, message=message))
        given.add(_fold(new))
        result.append(new)
    return result, warnings


def _find_free(stem: str, number: int, taken: set[str]) -> tuple[str, int]:
    while _fold(f"{stem}{number}") in taken:
        number += 1
    return f"{stem}{number}", number


def _fold(name: str) -> str:
    return name.casefold()
