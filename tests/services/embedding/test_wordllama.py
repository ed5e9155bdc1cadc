"""The default embedding model: its tokens equal the reference's, its vectors are those of its weights."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

np = pytest.importorskip("numpy")
pytest.importorskip("wordllama")

from lakehouse.services.embedding import wordllama  # noqa: E402
from lakehouse.services.embedding.tokenizer import CACHED_WORD_LENGTH, LlamaTokenizer, WordCache  # noqa: E402
from lakehouse.services.embedding.weights import ModelUnavailable, find_package, read_checked  # noqa: E402

TOKENS = {
    "The quick brown fox jumps over the lazy dog.": [
        450, 4996, 17354, 1701, 29916, 432, 17204, 975, 278, 17366, 11203, 29889
    ],
    " two  spaces": [29871, 1023, 29871, 8162],
    "<s>marks</s> < s >": [1, 17997, 2, 29871, 529, 269, 1405],
    "line\n  next\tcol": [1196, 13, 29871, 2446, 12, 1054],
    "naïve Größe 日本 😀": [
        1055, 30085, 345, 1632, 29997, 5831, 29871, 30325, 30346, 29871, 243, 162, 155, 131
    ],
    "x" * 40: [921, *[14633] * 9, 12353],
    "": [],
}  # fmt: skip
"""Texts with the tokens that the library `tokenizers` gives them."""


@pytest.fixture(scope="module")
def model() -> wordllama.EmbeddingModel:
    return wordllama.load_default_model()


@pytest.mark.parametrize("text", TOKENS)
def test_tokens_are_those_of_the_reference(model: wordllama.EmbeddingModel, text: str) -> None:
    assert model.tokenize([text])[0].tolist() == TOKENS[text]
    assert model.tokenize([text])[0].tolist() == TOKENS[text], "from the cache of words"


def test_tokens_of_random_texts_equal_the_installed_reference(model: wordllama.EmbeddingModel) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    directory = find_package("wordllama")
    assert directory is not None
    reference = tokenizers.Tokenizer.from_file(str(directory / wordllama.TOKENIZER))
    random_ = random.Random(2)
    spaces = " ▁\n<>s/ab日é😀\t.\u0301ÄЖ"
    texts = ["".join(random_.choices(spaces, k=random_.randint(1, 60))) for _ in range(2_000)]
    texts += ["".join(map(chr, random_.choices(range(32, 0xD7FF), k=random_.randint(1, 40)))) for _ in range(1_000)]
    texts += ["<unk>", " <s> ", "</s></s>", " " * 300 + "x" + " " * 17, "\x00\x01", Path(__file__).read_text()]
    expected = [found.ids for found in reference.encode_batch(texts, add_special_tokens=False)]
    assert [tokens.tolist() for tokens in model.tokenize(texts)] == expected


def test_a_vector_is_the_mean_of_its_tokens_with_length_one(model: wordllama.EmbeddingModel) -> None:
    tokens = model.tokenize(["how to list files", "bake a cake"])
    for text, vector in zip(tokens, model.embed(tokens), strict=True):
        mean = model.token_vectors[text].mean(axis=0)
        assert vector.shape == (model.dimension,)
        assert np.allclose(vector, mean / np.linalg.norm(mean), atol=1e-6)


def test_a_vector_does_not_depend_on_its_batch(model: wordllama.EmbeddingModel) -> None:
    texts = [f"text {n} " * (n % 40 + 1) for n in range(500)]
    together = model.embed(model.tokenize(texts))
    alone = np.vstack([model.embed(model.tokenize([text])) for text in texts])
    assert together.tobytes() == alone.tobytes()


def test_texts_rank_by_their_words(model: wordllama.EmbeddingModel) -> None:
    texts = ["animals that purr", "a cat sleeps on the sofa", "the stock market fell", "a compiler for C"]
    question, *documents = model.embed(model.tokenize(texts))
    assert max(range(3), key=lambda n: float(question @ documents[n])) == 0


def test_no_text_is_without_a_vector_but_one_without_tokens(model: wordllama.EmbeddingModel) -> None:
    assert not model.embed(model.tokenize([""])).any()
    assert model.embed([]).shape == (0, model.dimension)
    assert np.isclose(np.linalg.norm(model.embed(model.tokenize([" "]))), 1.0)


def test_a_text_that_is_too_long_is_seen_to_be(model: wordllama.EmbeddingModel) -> None:
    assert len(model.tokenize(["word " * 2_000_000])[0]) > model.max_tokens
    assert len(model.tokenize([" " * 2_000_000])[0]) > model.max_tokens


def test_the_cache_of_words_is_bounded() -> None:
    cache = WordCache(size=3)
    for n in range(100):
        cache.put(f"w{n}", b"")
        assert cache.get("w0") is not None, "what is asked for stays"
    cache.put("x" * (CACHED_WORD_LENGTH + 1), b"")
    assert len(cache) <= 6
    assert cache.get("x" * (CACHED_WORD_LENGTH + 1)) is None
    assert cache.get("w1") is None


def test_merges_go_by_rank_and_then_from_the_left() -> None:
    """Of `a b` and `b c`, the earlier merge is made first, wherever it stands."""
    content = b'{"model":{"vocab":{"\xe2\x96\x81":0,"a":1,"b":2,"c":3,"bc":4,"ab":5},"merges":["b c","a b"]}}'
    tokenizer = LlamaTokenizer(content)
    assert [tokens.tolist() for tokens in tokenizer.encode(["abc", "abab"])] == [[0, 1, 4], [0, 5, 5]]


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"other weights")
    with pytest.raises(ModelUnavailable, match=r"SHA-256 is .* not 00"):
        read_checked(tmp_path / "weights", "00")
    with pytest.raises(ModelUnavailable, match="cannot be read: No such file"):
        read_checked(tmp_path / "absent", "00")


def test_the_package_itself_is_not_imported() -> None:
    program = (
        "import sys; from lakehouse.services.embedding.wordllama import load_default_model; load_default_model();"
        "print(sorted({'wordllama', 'tokenizers', 'huggingface_hub', 'safetensors'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
