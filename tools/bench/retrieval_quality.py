"""`python -m tools.bench.retrieval_quality`: how well searches find what was asked for, on sets of real texts.

The sets are built from packages of Debian, which apt-get fetches into the folder for the cache (36 MB, unpacked 170):
package descriptions (deb, and deb10k, a part of them), manual pages (man), Python's manual (py). `docs/retrieval.md`
describes them and has the figures. The engine is the one that production serves, in its child process.

`--models all-minilm-l6-v2 --sets man py deb10k` measures MiniLM. It takes 12 minutes of one core for the first run; the
vectors are kept in the cache. (The set deb would take an hour.)
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import trio

from lakehouse.config import Config
from lakehouse.services.embedding.names import MINILM, WORDLLAMA
from lakehouse.services.host.embedding import open_lake_embedder
from lakehouse.services.lake.directory import open_directory
from lakehouse.services.retrieval.client import open_retrieval
from tools.bench import report
from tools.kit.question_sets import QuestionSet
from tools.kit.question_sets.debian import DebianTexts
from tools.kit.question_sets.docstrings import read_docstrings
from tools.kit.retrieval_quality import DEFAULT, KEYWORDS, VECTORS, WAYS, Quality, Vectors, Way, measure
from tools.kit.vector_cache import embed_cached

QUESTIONS = 2000
CORPORA_WAYS = (KEYWORDS, VECTORS, DEFAULT)
CORPORA_TOLERANCE = 0.01
TARGETS: Mapping[tuple[str, str], float] = {
    ("man", WORDLLAMA): 0.670,
    ("py", WORDLLAMA): 0.473,
    ("deb10k", WORDLLAMA): 0.814,
    ("deb", WORDLLAMA): 0.680,
    ("man", MINILM): 0.739,
    ("py", MINILM): 0.690,
    ("deb10k", MINILM): 0.825,
}
"""The least MRR@10 of a set with a model's defaults."""


@dataclass(frozen=True, slots=True)
class Result:
    """One set, asked in one way."""

    questions: str
    model: str
    corpora: int
    way: str
    mrr: float
    recalls: tuple[float, float, float]
    least: float | None = None

    @property
    def holds(self) -> bool:
        """Whether the target is reached."""
        return self.least is None or self.mrr >= self.least


def main() -> None:
    """Parse the command line, measure, print a table; exit status 1 if a target is missed."""
    options = _options()
    options.cache.mkdir(parents=True, exist_ok=True)
    print(f"{report.machine()}\n\n| set | model | corpora | search | MRR@10 | r@1 | r@5 | r@10 | at least | |")
    print("|---|---|---:|---|---:|---:|---:|---:|---:|---|")
    results: list[Result] = []
    for name, build in _sets(DebianTexts(options.cache)).items():
        if name in options.sets:
            results += trio.run(_measure_set, build(), options)
    if options.json:
        options.json.write_text(json.dumps([_as_json(result) for result in results], indent=1) + "\n")
    if not all(result.holds for result in results):
        raise SystemExit(1)


def _sets(texts: DebianTexts) -> dict[str, Callable[[], QuestionSet]]:
    return {
        "doc": read_docstrings,
        "man": texts.manual_pages,
        "py": texts.python_manual,
        "deb10k": lambda: texts.package_descriptions().sample_texts("deb10k", 10_030),
        "deb": texts.package_descriptions,
    }


async def _measure_set(whole: QuestionSet, options: argparse.Namespace) -> list[Result]:
    """One set with each model, and with the embedded one in three corpora."""
    questions = whole.sample_questions(QUESTIONS)
    results: list[Result] = []
    for model in options.models:
        vectors = None if model == WORDLLAMA else await _embed(questions, model, options.cache)
        results += await _measure_ways(questions, model, WAYS, vectors, {})
    if WORDLLAMA in options.models and questions.name in options.corpora:
        one = {result.way: result.mrr - CORPORA_TOLERANCE for result in results if result.model == WORDLLAMA}
        results += await _measure_ways(questions, WORDLLAMA, CORPORA_WAYS, None, one, corpora=3)
    return results


async def _measure_ways(
    questions: QuestionSet,
    model: str,
    ways: Sequence[Way],
    vectors: Vectors | None,
    least: Mapping[str, float],
    *,
    corpora: int = 1,
) -> list[Result]:
    results: list[Result] = []

    def report_way(way: Way, quality: Quality) -> None:
        targets = [least[way.name]] if way.name in least else []
        if way == DEFAULT:
            targets += [result.mrr for result in results if result.way == KEYWORDS.name]
            targets += [TARGETS[questions.name, model]] if corpora == 1 and (questions.name, model) in TARGETS else []
        recalls = quality.recall(1), quality.recall(5), quality.recall(10)
        result = Result(questions.name, model, corpora, way.name, quality.mrr, recalls, max(targets, default=None))
        results.append(result)
        print(_line(result), flush=True)

    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        await measure(questions, ways, Path(folder) / "lake", corpora=corpora, vectors=vectors, report=report_way)
    size = f"{len(questions.texts):,} texts, {len(questions.questions):,} questions"
    print(f"{questions.name}: {size}, {time.perf_counter() - started:.0f} s", file=sys.stderr)
    return results


async def _embed(questions: QuestionSet, model: str, cache: Path) -> Vectors:
    """The vectors of a set from a model of a GGUF file, by the embedder of the services."""
    texts = [*questions.texts, *(question.text for question in questions.questions)]
    with tempfile.TemporaryDirectory() as folder:
        async with (
            open_directory(Path(folder) / "lake") as directory,
            open_retrieval(directory) as engine,
            open_lake_embedder(engine, directory, Config()) as embedder,
        ):
            return await embed_cached(embedder, model, texts, cache / "vectors.sqlite", progress=_show_progress)


def _show_progress(done: int, count: int) -> None:
    if done % 1024 == 0:
        print(f"embedding: {done:,} of {count:,}", file=sys.stderr)


def _line(result: Result) -> str:
    recalls = " | ".join(f"{recall:.3f}" for recall in result.recalls)
    target = "" if result.least is None else f"{result.least:.3f}"
    verdict = "" if result.least is None else "holds" if result.holds else "MISSED"
    start = f"| {result.questions} | {result.model} | {result.corpora} | {result.way}"
    return f"{start} | {result.mrr:.3f} | {recalls} | {target} | {verdict} |"


def _as_json(result: Result) -> dict[str, str | int | float | None]:
    recalls = dict(zip(("r1", "r5", "r10"), result.recalls, strict=True))
    place: dict[str, str | int | float | None] = {"set": result.questions, "model": result.model, "way": result.way}
    return {**place, "corpora": result.corpora, "mrr": result.mrr, **recalls, "at_least": result.least}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tools.bench.retrieval_quality")
    parser.add_argument("--sets", nargs="+", default=["doc", "man", "py", "deb10k", "deb"], help="of these five")
    parser.add_argument("--models", nargs="+", default=[WORDLLAMA], help=f"{WORDLLAMA} and {MINILM}")
    parser.add_argument("--corpora", nargs="*", default=["deb"], help="sets that are also asked in three corpora")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "lakehouse-question-sets")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    return parser.parse_args()


if __name__ == "__main__":
    main()
