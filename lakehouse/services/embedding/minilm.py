"""`all-MiniLM-L6-v2` as a GGUF file, written from the weights in an installed package.

The weights are those of sentence-transformers (Apache-2.0), recognized by their hash. The matrices of the layers are
written as 8-bit integers in blocks of 32 (Q8_0), with which a text takes two thirds of the time that float16 takes; the
cosines of the vectors to those of the original are above .999, and searches find as much (`docs/retrieval.md`).

This module needs numpy and gguf: the child process of the model calls `ensure_file` before it loads the file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lakehouse.services.embedding.names import MINILM, MINILM_DIMENSION, MINILM_PACKAGE
from lakehouse.services.embedding.weights import ModelUnavailable, find_package, read_checked, read_tensors

if TYPE_CHECKING:
    from gguf import GGUFWriter
    from numpy.typing import NDArray

WEIGHTS = "model/model.safetensors"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
VOCABULARY = "model/vocab.txt"
VOCABULARY_SHA256 = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"

LAYERS, HEADS, HIDDEN, POSITIONS = 6, 12, 1536, 512
EPSILON = 1e-12
PADDING, UNKNOWN, BEGIN, END, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
WORD_BEGIN = "▁"
"""What a word begins with in GGUF's form of such a vocabulary; what continues one has lost its `##`."""

_LAYER_NAMES = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}
_NAMES = {
    "embeddings.word_embeddings.weight": "token_embd.weight",
    "embeddings.position_embeddings.weight": "position_embd.weight",
    "embeddings.token_type_embeddings.weight": "token_types.weight",
    "embeddings.LayerNorm.weight": "token_embd_norm.weight",
    "embeddings.LayerNorm.bias": "token_embd_norm.bias",
    **{
        f"encoder.layer.{layer}.{theirs}.{kind}": f"blk.{layer}.{ours}.{kind}"
        for layer in range(LAYERS)
        for theirs, ours in _LAYER_NAMES.items()
        for kind in ("weight", "bias")
    },
}
"""GGUF's name of each tensor that the model uses."""


def ensure_file(path: str) -> None:
    """Write the model to `path` unless it is there: under another name first, so that it is there whole or not at all.

    Raises ModelUnavailable, OSError.
    """
    place = Path(path)
    if place.exists():
        return
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = place.with_name(f"{place.name}.{os.getpid()}.draft")
    try:
        write_model(draft)
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.replace(place)
    finally:
        draft.unlink(missing_ok=True)


def write_model(path: Path) -> None:
    """Write the model, in about half a second. Raises ModelUnavailable, OSError."""
    from gguf import GGUFWriter

    directory = find_package(MINILM_PACKAGE)
    if directory is None:
        raise ModelUnavailable(f"the package {MINILM_PACKAGE} is not installed")
    tensors = read_tensors(read_checked(directory / WEIGHTS, WEIGHTS_SHA256))
    vocabulary = read_checked(directory / VOCABULARY, VOCABULARY_SHA256).decode().splitlines()
    writer = GGUFWriter(path, "bert")
    _describe(writer)
    _add_vocabulary(writer, vocabulary)
    for theirs, ours in _NAMES.items():
        _add_tensor(writer, ours, tensors[theirs])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tensor(writer: GGUFWriter, name: str, tensor: NDArray[Any]) -> None:
    """Add a tensor: what is added or scales as float32, as llama.cpp expects it, and what is looked up as float16."""
    from gguf import GGMLQuantizationType, quantize

    if tensor.ndim == 1 or name in ("position_embd.weight", "token_types.weight"):
        writer.add_tensor(name, tensor.astype(np.float32))
    elif name == "token_embd.weight":
        writer.add_tensor(name, tensor.astype(np.float16))
    else:
        kind = GGMLQuantizationType.Q8_0
        writer.add_tensor(name, quantize(tensor.astype(np.float32), kind), raw_dtype=kind)


def _describe(writer: GGUFWriter) -> None:
    from gguf import LlamaFileType, PoolingType

    writer.add_name(MINILM)
    writer.add_license("apache-2.0")
    writer.add_file_type(LlamaFileType.MOSTLY_Q8_0)
    writer.add_context_length(POSITIONS)
    writer.add_embedding_length(MINILM_DIMENSION)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_eps(EPSILON)
    writer.add_causal_attention(False)
    writer.add_pooling_type(PoolingType.MEAN)


def _add_vocabulary(writer: GGUFWriter, vocabulary: list[str]) -> None:
    from gguf import TokenType

    types = [TokenType.NORMAL] * len(vocabulary)
    tokens: list[str] = []
    for number, token in enumerate(vocabulary):
        if token.startswith("[") and token.endswith("]") and len(token) > 2:
            types[number] = TokenType.UNKNOWN if token == UNKNOWN else TokenType.CONTROL
            tokens.append(token)
        elif token.startswith("##"):
            tokens.append(token[2:])
        else:
            tokens.append(WORD_BEGIN + token)
    writer.add_tokenizer_model("bert")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_type_count(2)
    writer.add_unk_token_id(vocabulary.index(UNKNOWN))
    writer.add_sep_token_id(vocabulary.index(END))
    writer.add_pad_token_id(vocabulary.index(PADDING))
    writer.add_mask_token_id(vocabulary.index(MASK))
    writer.add_bos_token_id(vocabulary.index(BEGIN))
    writer.add_eos_token_id(vocabulary.index(END))
