"""The demonstration model: half a megabyte of random weights that llama.cpp serves like any other file.

Its words are noise, but its tokens are counted, its answers are streamed, its JSON matches the schema, and it calls the
tools that it is offered. Everything around a model can be tried with it, without a download.

Random weights alone neither end an answer nor close a string, so some weights are set by hand. Some dimensions of the
embedding are not random but *marks* (the kind of the token), and the output layer makes the next token more or less
likely after each mark. As a result, answers end after some fifteen tokens, and no token follows itself for ever at
temperature 0: a space is never followed by a space, the likeliest token after a space is the quotation mark, and a
quotation mark ends a string or an answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from os import PathLike
from string import ascii_lowercase, digits, punctuation
from typing import TYPE_CHECKING

import numpy as np
from gguf import GGUFWriter, TokenType

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAME = "demo"
WIDTH, HIDDEN, HEADS, LAYERS = 64, 160, 4, 2  # about 130,000 parameters
CONTEXT = 32_768  # tokens; the maximum of `context`

# One token is one byte, in the alphabet of byte-level BPE, or one of these pairs, merged from two bytes.
PAIRS = ("th", "he", "in", "er", "an", "re", "on", "at", "en", "nd", "ti", "es", "or", "te", "of")
END, ASSISTANT, TOOL_CALL = "<|end|>", "<|assistant|>", "<tool_call>"
CONTROL = (END, "<|system|>", "<|user|>", ASSISTANT, "<|tool|>")

# llama.cpp derives the form of tool calls from the template. The newline after <|assistant|> marks a request with
# tools; the grammar of llama.cpp for the answer allows only white space there.
TEMPLATE = """\
{%- if tools %}<|system|>
<tools>
{%- for tool in tools %}
{{ tool | tojson }}
{%- endfor %}
</tools>
Answer <tool_call>{"name": <function-name>, "arguments": <args-json-object>}</tool_call> to call one.<|end|>
{%- endif %}
{%- for message in messages %}<|{{ message.role }}|>{{ message.content or '' }}
{%- for call in message.tool_calls or [] %}
<tool_call>{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}</tool_call>
{%- endfor -%}
<|end|>
{%- endfor %}
{%- if add_generation_prompt %}<|assistant|>
{%- if tools and messages[-1].role != 'tool' %}{{ '\\n' }}{% endif %}
{%- endif %}"""


class Mark(IntEnum):
    """The dimensions of the embedding that are not random: the kind of the token."""

    ANY = 0  # every token; the output layer turns this mark into the popularity of the next token
    OPENING = 1  # the beginning of the answer
    NEWLINE = 2
    DIGIT = 3
    SPACE = 4
    QUOTE = 5


STRENGTH = 4.0  # of a mark; a random dimension has about 0.8
NEVER = -20.0

# How much likelier than a lower-case letter, as a logit: in general, and after a mark.
POPULARITY: dict[str, float] = {
    **dict.fromkeys(punctuation + ascii_lowercase.upper(), -3.0),
    **dict.fromkeys(digits, -2.0),
    **dict.fromkeys("}]", -1.5),  # more popular than the next line: closing brackets
    **dict.fromkeys(",[{\\", -4.0),  # continuing or opening another, so that JSON of any schema ends
    " ": 1.7,
    '"': 0.9,
}
END_POPULARITY = -1.0
AFTER: dict[Mark, dict[str, float]] = {
    Mark.OPENING: {END: NEVER, '"': NEVER, " ": NEVER},  # an answer is never empty
    Mark.NEWLINE: {TOOL_CALL: -3 * NEVER},
    # Numbers of a few digits: most parsers read an exponent of sixteen digits as infinite.
    Mark.DIGIT: {**dict.fromkeys(digits, 2.0), **dict.fromkeys("eE", NEVER), ",": 6.0, "}": 3.5, "]": 3.5},
    Mark.SPACE: {" ": NEVER},
    Mark.QUOTE: {END: 3.2, " ": -3.0, '"': -2.0},
}


def byte_alphabet() -> list[str]:
    """The printable character for each of the 256 bytes in byte-level BPE, as GPT-2 defines it."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = (byte for byte in range(256) if byte not in printable)
    stand_ins = {byte: chr(256 + place) for place, byte in enumerate(others)}
    return [stand_ins.get(byte, chr(byte)) for byte in range(256)]


class Vocabulary:
    """The tokens: bytes, pairs of letters, control tokens of the template."""

    def __init__(self) -> None:
        self.tokens = [*byte_alphabet(), *PAIRS, *CONTROL, TOOL_CALL]
        self.types = [TokenType.NORMAL] * (256 + len(PAIRS)) + [TokenType.CONTROL] * len(CONTROL)
        self.types.append(TokenType.USER_DEFINED)
        self._special = {token: place for place, token in enumerate(self.tokens) if place >= 256 + len(PAIRS)}

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, token: str) -> int:
        """The number of a character or of a control token."""
        return self._special[token] if token in self._special else ord(token)


def embeddings(vocabulary: Vocabulary, random: np.random.Generator) -> NDArray[np.float32]:
    """One row for each token. All have the same norm, so that the model's normalisation does not change the marks."""
    rows = random.normal(size=(len(vocabulary), WIDTH))
    rows[:, list(Mark)] = 0.0
    rows[:, Mark.ANY] = STRENGTH
    marked: dict[Mark, Iterable[str]] = {
        Mark.OPENING: [ASSISTANT],
        Mark.NEWLINE: "\n",
        Mark.DIGIT: digits,
        Mark.SPACE: " ",
        Mark.QUOTE: '"',
    }
    for mark, tokens in marked.items():
        rows[[vocabulary[token] for token in tokens], mark] = STRENGTH
    marks, noise = rows[:, : len(Mark)], rows[:, len(Mark) :]
    room = WIDTH - (marks**2).sum(axis=1, keepdims=True)
    noise *= np.sqrt(room / (noise**2).sum(axis=1, keepdims=True))
    return rows.astype(np.float32)


def output_layer(vocabulary: Vocabulary, random: np.random.Generator) -> NDArray[np.float32]:
    """One row for each token: its likelihood as the next one, by the marks of the last."""
    rows = random.normal(scale=0.03, size=(len(vocabulary), WIDTH))
    rows[:, list(Mark)] = 0.0
    popularity = np.full(len(vocabulary), NEVER)  # bytes that are not text by themselves, and control tokens
    popularity[256 : 256 + len(PAIRS)] = 0.0
    popularity[vocabulary[END]] = END_POPULARITY
    for character in ascii_lowercase:
        popularity[vocabulary[character]] = 0.0
    for character, value in POPULARITY.items():
        popularity[vocabulary[character]] = value
    rows[:, Mark.ANY] = popularity / STRENGTH
    for mark, effects in AFTER.items():
        for token, effect in effects.items():
            rows[vocabulary[token], mark] = effect / STRENGTH
    return rows.astype(np.float32)


def build(path: str | PathLike[str]) -> None:
    """Write the model to `path`: always the same bytes, in about a tenth of a second. Raises OSError."""
    vocabulary = Vocabulary()
    random = np.random.default_rng(2026)
    writer = GGUFWriter(path, "llama")
    _describe(writer)
    _add_tokenizer(writer, vocabulary)
    writer.add_tensor("token_embd.weight", embeddings(vocabulary, random))
    writer.add_tensor("output.weight", output_layer(vocabulary, random))
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    for layer in range(LAYERS):
        _add_layer(writer, f"blk.{layer}", random)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _describe(writer: GGUFWriter) -> None:
    writer.add_name(NAME)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_head_count(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)


def _add_tokenizer(writer: GGUFWriter, vocabulary: Vocabulary) -> None:
    writer.add_vocab_size(len(vocabulary))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    writer.add_token_merges([" ".join(pair) for pair in PAIRS])
    writer.add_eos_token_id(vocabulary[END])
    writer.add_bos_token_id(vocabulary[END])
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)


def _add_layer(writer: GGUFWriter, name: str, random: np.random.Generator) -> None:
    shapes = {
        **dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), (WIDTH, WIDTH)),
        **dict.fromkeys(("ffn_gate", "ffn_up"), (HIDDEN, WIDTH)),
        "ffn_down": (WIDTH, HIDDEN),
    }
    for part, shape in shapes.items():
        weights = random.normal(scale=0.05, size=shape)
        writer.add_tensor(f"{name}.{part}.weight", weights.astype(np.float32))
    for part in ("attn_norm", "ffn_norm"):
        writer.add_tensor(f"{name}.{part}.weight", np.ones(WIDTH, np.float32))
