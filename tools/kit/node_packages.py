"""Packages of npm for a program of ours, installed beside a copy of it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tools.kit.not_installed import NotInstalled

TIMEOUT = 120.0
"""Seconds for one attempt to install."""


def install_program(source: Path, folder: Path) -> None:
    """Copy the files of `source`, a `package.json` among them, to `folder` and install what it names.

    Nothing is done if that has been done before. Raises `NotInstalled` without Node.js, npm or npm's registry.
    """
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise NotInstalled("Node.js and npm are not installed")
    manifest = (source / "package.json").read_bytes()
    for path in source.iterdir():
        shutil.copy(path, folder / path.name)
    installed = folder / "installed"
    if not installed.exists() or installed.read_bytes() != manifest:
        _install(npm, folder)
        installed.write_bytes(manifest)  # last: an installation that was interrupted is made again


def _install(npm: str, folder: Path) -> None:
    """Install the packages, with a second attempt."""
    options = ("--no-audit", "--no-fund", "--no-update-notifier", "--ignore-scripts", "--loglevel=error")
    problem = ""
    for _ in range(2):
        shutil.rmtree(folder / "node_modules", ignore_errors=True)
        try:
            run = subprocess.run([npm, "install", *options], cwd=folder, capture_output=True, text=True, timeout=TIMEOUT, check=False)  # fmt: skip
        except subprocess.TimeoutExpired:
            problem = f"no answer within {TIMEOUT:.0f} s"
            continue
        if run.returncode == 0:
            return
        problem = run.stderr.strip()[:300]
    raise NotInstalled(f"npm could not install the packages: {problem}")
