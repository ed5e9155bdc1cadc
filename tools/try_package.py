"""Install the wheel and the sdist found in a folder, each into a new environment, and use them without the checkout."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from pathlib import Path


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command, show it, and return what it printed."""
    print("+", *command, flush=True)
    return subprocess.run(list(map(str, command)), check=True, cwd=cwd, stdout=subprocess.PIPE, text=True).stdout


def try_one(archive: Path) -> None:
    """From an empty folder: install, start with the embedded model and the demonstration tables, ask both, stop."""
    with tempfile.TemporaryDirectory() as folder:
        away = Path(folder)
        venv.create(away / "venv", with_pip=True)
        binaries = away / "venv" / "bin"
        run(
            binaries / "pip", "install", "-q", f"lakehouse-gateway[lake,local] @ {archive.resolve().as_uri()}", cwd=away
        )
        print(run(binaries / "lakehouse", "--version", cwd=away).strip())
        run(binaries / "lakehouse", "check", cwd=away)
        answer = run(binaries / "lakehouse", "serve", "--demo", "--bind", "127.0.0.1:0", "--ask", "Hello", cwd=away)
        assert '"provider": "local"' in answer, answer
        assert '"row_count": 5' in answer, answer
        page = (
            "from importlib.resources import files; folder = files('lakehouse.runtime.console'); "
            "print(all((folder / name).is_file() for name in ('page.html', 'lake.css', 'lake.js', 'sessions.js')))"
        )
        assert run(binaries / "python", "-c", page, cwd=away).strip() == "True"


def main() -> None:
    """Try every archive in the folder that is the first argument."""
    archives = sorted(Path(sys.argv[1]).glob("lakehouse_gateway-*"))
    if {archive.suffix for archive in archives} != {".whl", ".gz"}:
        raise SystemExit(f"expected one wheel and one sdist in {sys.argv[1]}, found {[a.name for a in archives]}")
    for archive in archives:
        try_one(archive)
    print("both install and answer without the checkout")


if __name__ == "__main__":
    main()
