"""What `import lakehouse` gives, and what it does not cost."""

from __future__ import annotations

import subprocess
import sys

import pytest

import lakehouse


@pytest.mark.parametrize("name", lakehouse.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    thing = getattr(lakehouse, name)
    assert name in dir(lakehouse)
    if name != "Piece":  # a union, which has no docstring of its own
        assert thing.__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'lakehouse' has no attribute 'nonsense'"):
        _ = lakehouse.nonsense  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import lakehouse", {"trio", "httpx", "quart", "hypercorn", "msgspec"}),
        ("import lakehouse; lakehouse.Request", {"trio", "httpx", "quart", "hypercorn"}),
        ("import lakehouse; lakehouse.open_dispatcher", {"quart", "hypercorn", "prometheus_client", "xllamacpp"}),
        (
            "import lakehouse; lakehouse.serve",
            {
                "opentelemetry",
                "xllamacpp",
                "numpy",
                "jsonschema_rs",
                "quart",
                "hypercorn",
                "lakehouse.services",
                "lakehouse.process.child",
            },
        ),
    ],
)
def test_what_is_not_used_is_not_imported(statement: str, absent: set[str]) -> None:
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert absent.isdisjoint(done.stdout.split())
