"""The keyword index: both engines answer alike, survive damage, and never read a user's text as a query."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from lakehouse.services.contracts.retrieval import IndexOptions
from lakehouse.services.retrieval.child import keyword, keyword_tantivy, keyword_writer, store
from lakehouse.services.retrieval.child.keyword import Allowed, KeywordIndex, Rows, open_engine, open_keyword_index
from lakehouse.services.retrieval.child.keyword_tantivy import TantivyIndex
from lakehouse.services.retrieval.child.keyword_writer import open_keyword_writer
from tools.kit.matrices import spread

TEXTS = [
    "The lake keeps every table.",
    "Tables are kept in a lake, and lakes keep tables.",
    "A gateway forwards requests to a provider.",
    "Forwarding a request takes a gateway.",
    "Cats sleep.",
]

Open = Callable[[Path], KeywordIndex]


@pytest.fixture(params=["tantivy", "fts5"])
def open_index(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Opens the index as production does, with and without tantivy."""
    if request.param == "fts5":
        monkeypatch.setattr(keyword, "missing_modules", lambda *names: list(names))
    return open_keyword_index


@pytest.fixture
def index(open_index: Open, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[KeywordIndex]:
    index = open_index(tmp_path)
    assert (index.engine, index.version) == (request.node.callspec.params["open_index"], 0)
    yield index
    index.close()


def rows_of(found: tuple[np.ndarray, np.ndarray]) -> list[int]:
    rows, scores = found
    assert (str(rows.dtype), str(scores.dtype)) == ("int64", "float32")
    assert scores.tolist() == sorted(scores.tolist(), reverse=True)
    return [int(row) for row in rows]


def every(step: int) -> Allowed:
    return lambda rows: np.asarray(rows % step == 1)


def fill(index: KeywordIndex, *, number: int = 1) -> None:
    index.add(range(len(TEXTS)), number, TEXTS)
    index.commit(1)


def test_words_are_found_in_all_their_forms_the_best_text_first(index: KeywordIndex) -> None:
    fill(index)
    assert sorted(rows_of(index.search("keeping a table", [1], 2))) == [0, 1]
    assert sorted(rows_of(index.search("REQUESTED gateways", [1], 10))[:2]) == [2, 3]
    assert rows_of(index.search("sleeping", [1], 10)) == [4]
    assert rows_of(index.search("nothing of that", [1], 10)) == []
    assert rows_of(index.search("lake", [1], 0)) == []


def test_an_empty_index_and_a_limit_beyond_everything_are_no_special_case(index: KeywordIndex) -> None:
    nobody = np.array([1], dtype=np.int64)
    for _ in range(2):  # before the first commit, and with nothing in it
        assert rows_of(index.search("lake", [1], 10**9)) == []
        assert rows_of(index.search("lake", [1], 5, every(2))) == []
        assert rows_of(index.search("lake", [1], 5, rows=nobody)) == []
        index.commit(1)
    fill(index)
    assert sorted(rows_of(index.search("lake", [1], 10**9))) == [0, 1]
    assert rows_of(index.search("lake", [1], 10**9, every(2))) == [1]


def test_a_change_is_visible_after_its_commit_and_not_before(index: KeywordIndex) -> None:
    index.add([1, 2], 1, ["lake", "river"])
    assert rows_of(index.search("lake", [1], 5)) == []
    index.commit(4)
    assert rows_of(index.search("lake", [1], 5)) == [1]
    index.delete([1, 77])
    index.add([3], 1, ["a lake again"])
    assert rows_of(index.search("lake", [1], 5)) == [1]
    index.commit(5)
    assert rows_of(index.search("lake", [1], 5)) == [3]
    assert index.version == 5


@pytest.mark.parametrize(
    "text",
    [
        'a "quote',
        "text:lake",
        "number:1 OR row:[0 TO 9]",
        "lake AND",
        "(lake",
        "NOT lake NEAR/2",
        "lake*",
        "^lake~2",
        "-lake +lake",
        "{lake}",
        "lake\0lake",
        "lake'; DROP TABLE words; --",
        "x" * 100_000 + " lake",
        " ".join(f"w{number}" for number in range(500)) + " lake",
        "",
        "!?",
        "\U0001f600 日本 é",
    ],
)
def test_no_text_of_a_user_is_an_operator(index: KeywordIndex, text: str) -> None:
    fill(index)
    found = rows_of(index.search(text, [1], 10))
    words = text.replace(":", " ").split()
    assert set(found) <= {0, 1, 2, 3, 4}
    if "lake" in text and len(words) < 50 and len(text) < 1000:
        assert {0, 1} <= set(found)


def test_of_many_terms_the_rare_ones_are_searched(index: KeywordIndex) -> None:
    index.add(range(200), 1, [" ".join(f"common{number}" for number in range(100))] * 200)
    index.add([200], 1, ["extraordinarily rare"])
    index.commit(1)
    query = " ".join(f"common{number}" for number in range(100)) + " extraordinarily"
    assert 200 in rows_of(index.search(query, [1], 300))


def test_indexes_share_their_statistics_and_nothing_else(index: KeywordIndex) -> None:
    index.add([1, 2], 1, ["the lake of one", "gateway"])
    index.add([3, 4, 5, 6, 7, 8, 9], 2, ["the lake of one", "gateway", *["cats"] * 5])
    index.commit(1)
    first, second = index.search("lake", [1], 5), index.search("lake", [2], 5)
    assert (rows_of(first), rows_of(second)) == ([1], [3])
    assert first[1].tolist() == second[1].tolist()  # so scores of different indexes can be compared
    assert sorted(rows_of(index.search("lake", [1, 2], 5))) == [1, 3]
    assert rows_of(index.search("lake", [], 5)) == []
    index.delete_index(2)
    index.commit(2)
    assert rows_of(index.search("lake gateway cats", [1, 2], 9)) == [1, 2] or rows_of(
        index.search("lake gateway cats", [1, 2], 9)
    ) == [2, 1]


def test_a_filter_is_applied_before_the_cut(index: KeywordIndex) -> None:
    index.add(range(3000), 1, [f"lake {'lake ' * (number % 7)}" for number in range(3000)])
    index.add(range(3000, 3010), 2, ["lake"] * 10)
    index.commit(1)
    everything, scores = index.search("lake", [1, 2], 5000)
    by_row = dict(zip(everything.tolist(), scores.tolist(), strict=True))
    assert len(by_row) == 3010
    for step in (2, 100, 1500):
        found = rows_of(index.search("lake", [1], 10, every(step)))
        best = sorted((by_row[row] for row in range(1, 3000, step)), reverse=True)[:10]
        assert [by_row[row] for row in found] == best
        assert all(row % step == 1 for row in found)
    wanted = np.array([5, 17, 2999, 3005, 90_000], dtype=np.int64)
    assert sorted(rows_of(index.search("lake", [1], 10, rows=wanted))) == [5, 17, 2999]
    assert rows_of(index.search("lake", [1], 10, rows=wanted[:0])) == []
    assert sorted(rows_of(index.search("lake", [2], 100))) == list(range(3000, 3010))
    assert rows_of(index.search("lake", [1], 10, lambda rows: rows < 0)) == []


def test_a_filter_that_few_matches_pass_lists_what_it_lets_through(
    index: KeywordIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The results are those of the filter, of one index and of a part of all."""
    monkeypatch.setattr(keyword_tantivy, "LONG_LIST", 500)
    index.add(range(3000), 1, [f"lake {'lake ' * (number % 7)}" for number in range(3000)])
    index.add(range(3000, 9000), 2, [f"lake {number}" if number % 3 else "river" for number in range(3000, 9000)])
    index.commit(1)
    for number, step in ((1, 1500), (1, 997), (1, 5000), (2, 2999), (1, 2)):
        calls: list[int] = []

        def list_allowed(step: int = step, calls: list[int] = calls) -> Rows:
            calls.append(step)
            return np.arange(1, 9000, step)

        plain = index.search("lake", [number], 10, every(step))
        listed = index.search("lake", [number], 10, every(step), list_allowed=list_allowed)
        assert [each.tolist() for each in plain] == [each.tolist() for each in listed]
        assert len(calls) == (index.engine == "tantivy" and step > 2)


def test_it_opens_with_the_version_of_its_last_commit(open_index: Open, tmp_path: Path) -> None:
    index = open_index(tmp_path)
    fill(index)
    index.add([90], 1, ["lake never committed"])
    index.close()
    index = open_index(tmp_path)
    assert index.version == 1
    assert sorted(rows_of(index.search("lake", [1], 9))) == [0, 1]
    index.close()


def test_searches_go_on_while_another_thread_writes(index: KeywordIndex) -> None:
    fill(index)

    def write() -> None:
        for version in range(2, 12):
            index.add([version * 1000], 1, ["a lake of its own"])
            index.commit(version)

    thread = threading.Thread(target=write)
    thread.start()
    counts = []
    while thread.is_alive():
        counts.append(len(rows_of(index.search("lake", [1], 100))))
    thread.join()
    assert counts == sorted(counts)
    assert len(rows_of(index.search("lake", [1], 100))) == 12


def damages() -> list[Callable[[bytes], bytes]]:
    return [
        lambda content: content[: len(content) // 2],
        lambda content: content[:0],
        lambda content: content[:-200] + bytes(byte ^ 0x55 for byte in content[-200:-150]) + content[-150:],
        lambda content: b"\0" * len(content),
    ]


@pytest.mark.parametrize("damage", damages(), ids=["cut", "empty", "flipped", "zeros"])
def test_a_damaged_index_is_made_anew(open_index: Open, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    index = open_index(tmp_path)
    index.add(range(3000), 1, [f"{TEXTS[number % 5]} word{number}" for number in range(3000)])
    index.commit(3)
    index.close()
    (folder,) = tmp_path.iterdir()
    files = [file for file in folder.iterdir() if not file.name.startswith(".") and file.suffix != ".sqlite-shm"]
    largest = max(files, key=lambda file: file.stat().st_size)
    content = largest.read_bytes()
    largest.write_bytes(damage(content))
    index = open_index(tmp_path)
    if index.version == 3:  # bytes of SQLite that no page uses
        assert len(rows_of(index.search("lake", [1], 9000))) == 1200
    else:
        assert index.version == 0
        fill(index)
    assert {0, 1} <= set(rows_of(index.search("lake", [1], 9000)))
    index.close()


@pytest.mark.parametrize("suffix", [".term", ".fast", ".idx", ".fieldnorm", ".store", "meta.json", ".del"])
def test_every_file_of_tantivy_is_checked(tmp_path: Path, suffix: str) -> None:
    index = open_keyword_index(tmp_path)
    fill(index)
    index.delete([0])
    index.commit(2)
    index.close()
    file = next(file for file in sorted((tmp_path / "tantivy-1").iterdir()) if file.name.endswith(suffix))
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 0xFF
    file.write_bytes(content)
    index = open_keyword_index(tmp_path)
    assert index.version == 0
    assert rows_of(index.search("lake", [1], 9)) == []
    fill(index)
    assert sorted(rows_of(index.search("lake", [1], 9))) == [0, 1]
    index.close()


def test_the_files_of_a_commit_that_was_killed_are_removed(tmp_path: Path) -> None:
    """The next commit writes files of the same names, and refuses to replace any."""
    index = open_keyword_index(tmp_path)
    fill(index)
    index.delete([0])
    index.commit(2)
    index.close()
    folder = tmp_path / "tantivy-1"
    (marks,) = (file for file in folder.iterdir() if file.name.endswith(".del"))
    segment, number, _ = marks.name.split(".")
    left = [folder / f"{segment}.{int(number) + step}.del" for step in range(1, 12)]
    for file in (*left, folder / ".tmpAb1", folder / f"{'0' * 32}.term"):
        file.write_bytes(marks.read_bytes())
    index = open_keyword_index(tmp_path)
    assert index.version == 2
    index.delete([1])
    index.commit(3)
    assert rows_of(index.search("lake", [1], 9)) == []
    index.close()
    assert not any((folder / name).exists() for name in (".tmpAb1", f"{'0' * 32}.term"))
    index = open_keyword_index(tmp_path)
    assert (index.version, rows_of(index.search("lake", [1], 9))) == (3, [])
    index.close()


def test_an_index_that_cannot_be_written_is_made_anew_from_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    connection = store.open_database(tmp_path / "index.sqlite", writer=True)
    options = msgspec.json.encode(IndexOptions(name="i", dimension=1))
    connection.execute("INSERT INTO indexes VALUES (1, 'i', ?, 1, 1, x'', 0, 0, 0)", [options])
    connection.execute("INSERT INTO items VALUES (7, 1, 'a', '', x'', x'', x'', 'a lake', x'')")
    commit, failures = TantivyIndex.commit, [ValueError("the file is there already")]

    def fail_once(index: TantivyIndex, version: int) -> None:
        if failures:
            raise failures.pop()
        commit(index, version)

    monkeypatch.setattr(TantivyIndex, "commit", fail_once)
    writer = open_keyword_writer(tmp_path / "keywords", connection, 7)
    assert (writer.keyword.version, rows_of(writer.keyword.search("lake", [1], 9))) == (7, [7])
    assert "the file is there already" in caplog.text
    writer.keyword.close()
    connection.close()


def test_only_texts_that_are_searched_by_word_are_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = store.open_database(tmp_path / "index.sqlite", writer=True)
    for number, keyword_search in enumerate([False, True], start=1):
        options = msgspec.json.encode(IndexOptions(name=f"i{number}", dimension=1, keyword=keyword_search))
        connection.execute("INSERT INTO indexes VALUES (?, ?, ?, 1, 1, x'', 0, 0, 0)", [number, f"i{number}", options])
        connection.execute("INSERT INTO items VALUES (?, ?, 'a', '', x'', x'', x'', 'a lake', x'')", [number, number])
    monkeypatch.setattr(keyword_writer, "MAX_REPLAY_AT_START", 0)
    writer = open_keyword_writer(tmp_path / "keywords", connection, 2)
    assert (writer.behind, dict(writer.lag)) == (True, {2: 1})
    commit, lags = writer.keyword.commit, list[dict[int, int]]()

    def commit_and_note(version: int) -> None:
        lags.append(dict(writer.lag))
        commit(version)

    monkeypatch.setattr(writer.keyword, "commit", commit_and_note)
    writer.replay(connection, 2)
    assert lags == [{2: 1}], "a text that was counted as missing is not counted again when it is replayed"
    assert dict(writer.lag) == {}
    assert rows_of(writer.keyword.search("lake", [1, 2], 9)) == [2]
    writer.keyword.close()
    connection.close()


def test_a_folder_of_another_engine_or_format_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = open_keyword_index(tmp_path)
    fill(index)
    index.close()
    (tmp_path / "stray").write_text("x")
    monkeypatch.setattr(keyword, "missing_modules", lambda *names: list(names))
    index = open_keyword_index(tmp_path)
    assert (index.engine, index.version) == ("fts5", 0)
    index.close()
    assert [path.name for path in tmp_path.iterdir()] == ["fts5-1"]


WRITER = """
import sys
from pathlib import Path
from lakehouse.services.retrieval.child.keyword import open_engine
index = open_engine(Path(sys.argv[1]), from_tantivy=sys.argv[2] == "tantivy")
version = index.version
while True:
    version += 1
    index.add([version], 1, [f"lake word{version}"])
    index.commit(version)
    print(version, flush=True)
"""


@pytest.mark.parametrize("engine", spread(["tantivy", "fts5"], 2))
def test_a_kill_loses_nothing_that_was_committed(tmp_path: Path, engine: str) -> None:
    picked = random.Random(engine)
    for _ in range(3):
        command = [sys.executable, "-c", WRITER, str(tmp_path), engine]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout
        for _ in range(picked.randint(2, 9)):
            committed = int(process.stdout.readline())
        process.kill()
        committed = max([committed, *map(int, process.stdout.read().split())])
        process.wait()
        process.stdout.close()
        index = open_engine(tmp_path, from_tantivy=engine == "tantivy")
        assert index.version in (committed, committed + 1)
        assert sorted(rows_of(index.search("lake", [1], 9999))) == list(range(1, index.version + 1))
        index.close()
