"""Documents become the passages of a corpus: sources, models, and what is left when something fails."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
import trio

from lakehouse.core.errors import ErrBadRequest, ErrConflict, ErrNotFound, ErrUnprocessable
from lakehouse.services.contracts.documents import DocumentFormat, ExtractedDocument, Passage, PassageSize
from lakehouse.services.contracts.retrieval import IndexOptions, Item, Written
from lakehouse.services.embedding.names import WORDLLAMA
from lakehouse.services.ingestd.corpora import FIELDS, SHORT, SIZE, Corpora, CorpusResult
from lakehouse.services.ingestd.parameters import IngestParameters
from lakehouse.services.ingestd.receiving import Upload
from tests.services.memory_engine import EMBEDDED, MemoryEmbedder, MemoryEngine
from tools.kit.retrieval_engine import open_engine, vector


class SourcesEngine(MemoryEngine):
    """The engine in memory, with sources."""

    async def replace_source(
        self,
        index: str,
        source: str,
        items: Sequence[Item],
        *,
        model: str = "",
        source_state: bytes | None = None,
        create: IndexOptions | None = None,
    ) -> Written:
        if create is not None:
            with suppress(ErrConflict):
                await self.create_index(create)
        kept = {item.id for item in items}
        former = [item.id for item in self._find(index).items.values() if item.source == source]
        return await self.add(index, items, model=model, delete_ids=[each for each in former if each not in kept])


class LineExtractor:
    """Each line of a file is a passage. `sizes` are those that were asked for."""

    def __init__(self) -> None:
        self.sizes: list[PassageSize] = []

    async def extract(
        self, path: Path, document_format: DocumentFormat, *, encoding: str = "", size: PassageSize
    ) -> ExtractedDocument:
        await trio.lowlevel.checkpoint()
        self.sizes.append(size)
        lines = path.read_text().split("\n")
        if "broken" in lines:
            raise ErrUnprocessable("broken")
        passages = [Passage(line, 0, len(line), ("A", "B"), number) for number, line in enumerate(lines, 1)]
        return ExtractedDocument(passages=passages, characters=9, title="T", pages=len(lines), warnings=("w",))


class Corpus:
    """The corpora of a test, with their parts."""

    def __init__(self, folder: Path, default_model: str = "") -> None:
        self.folder = folder
        self.engine = SourcesEngine()
        self.embedder = MemoryEmbedder()
        self.extractor = LineExtractor()
        self.phases: list[str] = []
        self.corpora = Corpora(
            self.extractor, self.engine, self.embedder, embedded_model=EMBEDDED, default_model=default_model
        )

    async def ingest(self, source: str, *lines: str, name: str = "c", model: str = "") -> CorpusResult:
        path = self.folder / "upload"
        path.write_text("\n".join(lines))
        upload = Upload(path=path, size=path.stat().st_size, digest="", file_name="its name.md", content_type="")
        parameters = IngestParameters(name=name, source=source, model=model)
        return await self.corpora.ingest(
            upload, parameters, "markdown", self.phases.append, before_write=trio.lowlevel.checkpoint
        )

    def texts(self, name: str = "c") -> dict[str, str | None]:
        return {id_: item.text for id_, item in sorted(self.engine.indexes[name].items.items())}


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return Corpus(tmp_path)


async def test_a_file_replaces_its_own_passages_and_no_others(corpus: Corpus) -> None:
    first = await corpus.ingest("a.md", "one", "two", "three")
    assert (first.status, first.added, first.replaced, first.deleted, first.length) == (201, 3, 0, 0, 3)
    await corpus.ingest("b.md", "other")
    again = await corpus.ingest("a.md", "one", "new")
    assert (again.status, again.added, again.replaced, again.deleted, again.length) == (200, 0, 2, 1, 3)
    assert corpus.texts() == {"a.md#1": "one", "a.md#2": "new", "b.md#1": "other"}
    assert corpus.phases[:3] == ["extracting", "writing", "extracting"]
    assert corpus.embedder.calls == []  # the engine embeds


async def test_the_answer_and_the_metadata(corpus: Corpus) -> None:
    answer = msgspec.json.decode(msgspec.json.encode(await corpus.ingest("", "one", "two")))
    assert answer == {
        "corpus": "c",
        "source": "its name.md",
        "format": "markdown",
        "existing": False,
        "passages": 2,
        "added": 2,
        "replaced": 0,
        "deleted": 0,
        "length": 2,
        "model": EMBEDDED,
        "pages": 2,
        "characters": 9,
        "bytes_in": 7,
        "warnings": [{"column": None, "line": None, "message": "w"}],
    }
    item = corpus.engine.indexes["c"].items["its name.md#2"]
    assert item.source == "its name.md"
    assert msgspec.json.decode(item.metadata) == {
        "source": "its name.md",
        "passage": 2,
        "start": 0,
        "end": 3,
        "page": 2,
        "heading": "A > B",
        "title": "T",
    }
    assert corpus.engine.indexes["c"].options.fields == {"source": "keyword", "page": "int"}


async def test_another_model_embeds_before_the_corpus_is_made(corpus: Corpus) -> None:
    result = await corpus.ingest("a.md", *(f"line {number}" for number in range(100)), model="all-minilm-l6-v2")
    assert result.model == "all-minilm-l6-v2"
    assert [len(call) for call in corpus.embedder.calls] == [64, 36]
    assert corpus.phases == ["extracting", "embedding", "writing"]
    assert corpus.extractor.sizes == [SHORT]
    assert corpus.engine.indexes["c"].options.dimension == 9
    await corpus.ingest("b.md", "more")  # the model is that of the corpus
    assert corpus.extractor.sizes == [SHORT, SHORT]
    assert all(len(item.vector) == 36 for item in corpus.engine.indexes["c"].items.values())


async def test_the_default_model_of_the_configuration(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path, default_model="ours")
    assert (await corpus.ingest("a.md", "one")).model == "ours"
    assert corpus.extractor.sizes == [SIZE]
    assert (await corpus.ingest("a.md", "one", name="d", model=EMBEDDED)).model == EMBEDDED


async def test_a_corpus_keeps_its_model(corpus: Corpus) -> None:
    await corpus.ingest("a.md", "one")
    with pytest.raises(ErrConflict, match="has the embedding model words, not other"):
        await corpus.ingest("a.md", "two", model="other")
    assert corpus.embedder.calls == []  # a name needs no model that answers
    await corpus.engine.create_index(IndexOptions(name="vectors", dimension=3))
    with pytest.raises(ErrConflict, match="no corpus"):
        await corpus.ingest("a.md", "two", name="vectors")
    assert corpus.texts() == {"a.md#1": "one"}


async def test_what_fails_leaves_everything_as_it_was(corpus: Corpus) -> None:
    with pytest.raises(ErrUnprocessable):
        await corpus.ingest("a.md", "broken")
    corpus.embedder.gate = trio.Event()
    with trio.move_on_after(0.05) as scope:
        await corpus.ingest("a.md", "one", model="other")
    assert scope.cancelled_caught
    assert corpus.engine.indexes == {}
    await corpus.ingest("a.md", "one")
    with pytest.raises(ErrUnprocessable):
        await corpus.ingest("a.md", "broken")
    assert corpus.texts() == {"a.md#1": "one"}


async def test_a_new_corpus_is_made_with_its_first_passages(tmp_path: Path) -> None:
    """In the real engine: a write that is refused leaves no corpus, and of two models at once one gets it."""
    corpus = Corpus(tmp_path)
    options = IndexOptions(name="c", dimension=4, model="other", fields=FIELDS)
    good, bad = Item(id="1", vector=vector(1, 2, 3, 4), text="a"), Item(id="2", vector=vector(1), text="b")
    async with open_engine(tmp_path / "lake") as engine:
        with pytest.raises(ErrBadRequest, match="has 1 components"):
            await engine.replace_source("c", "a.md", [good, bad], model="other", create=options)
        assert await engine.list_indexes() == []
        corpus.corpora = Corpora(corpus.extractor, engine, corpus.embedder, embedded_model=WORDLLAMA)
        made = await corpus.ingest("a.md", "one", "two")
        info = await engine.get_index("c")
        assert (made.status, made.length, info.model, info.fields) == (201, 2, WORDLLAMA, FIELDS)
        for changes in 1, 0:  # a new corpus that another upload with another model was quicker to make
            with pytest.raises(ErrConflict, match="are of the model 'other'"):
                await engine.replace_source("c", "b.md", [good][:changes], create=options)
        same = msgspec.structs.replace(options, model=WORDLLAMA, dimension=0)
        assert (await engine.replace_source("c", "b.md", [Item(id="3", text="c")], create=same)).length == 3


async def test_the_passages_of_a_file_are_removed(corpus: Corpus) -> None:
    await corpus.ingest("a.md", "one", "two")
    await corpus.ingest("b.md", "other")
    removed = await corpus.corpora.remove("c", "a.md")
    assert msgspec.to_builtins(removed) == {"corpus": "c", "source": "a.md", "deleted": 2, "length": 1}
    with pytest.raises(ErrNotFound, match=r"no passages of 'a\.md'"):
        await corpus.corpora.remove("c", "a.md")
    with pytest.raises(ErrNotFound):
        await corpus.corpora.remove("none", "a.md")


@pytest.mark.parametrize("source", ["a\nb", "a\0b", "x" * 513, "\u00e9" * 257])
async def test_names_of_files_that_are_refused(corpus: Corpus, source: str) -> None:
    with pytest.raises(ErrBadRequest) as caught:
        await corpus.ingest(source, "one")
    assert caught.value.field == "source"
    assert corpus.engine.indexes == {}


@pytest.mark.parametrize("name", ["a/../b", "a//b", "a\\b", "a\nb", "x" * 201])
async def test_names_that_no_corpus_can_have(corpus: Corpus, name: str) -> None:
    with pytest.raises(ErrBadRequest) as caught:
        await corpus.ingest("a.md", "one", name=name)
    assert caught.value.field == "name"
    assert corpus.phases == []  # before the document is read


async def test_two_uploads_make_one_corpus(corpus: Corpus) -> None:
    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(corpus.ingest, f"{number}.md", "one")
    assert len(corpus.texts()) == 8
