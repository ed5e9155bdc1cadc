"""Checks before the process of the embedded model is started: the platform, the extra, and the model file."""

from __future__ import annotations

import sys
from pathlib import Path

from lakehouse.core.extras import install_hint, missing_modules

MAGIC = b"GGUF"  # the first four bytes of the format


class LocalModelError(Exception):
    """The embedded model cannot be started. The message has the cause and the remedy."""


def check_model(path: Path | None, *, prepared: bool = False) -> None:
    """Check that the extra is installed and that `path` is a GGUF file; None is the demonstration model.

    A `prepared` file is written by the model's process, with the packages of the extra. Reads four bytes of the file
    and imports nothing. Raises LocalModelError.
    """
    if sys.platform != "linux":
        raise LocalModelError(
            "the embedded model runs on Linux only: use a local Ollama instead, `ollama_url` in [chatd]"
        )
    needed = ("xllamacpp",) if path is not None and not prepared else ("xllamacpp", "gguf", "numpy")
    if absent := missing_modules(*needed):
        raise LocalModelError(f"the embedded model {install_hint('local', absent)}")
    if path is not None and not prepared:
        _check_file(path)


def _check_file(path: Path) -> None:
    try:
        with path.open("rb") as file:
            beginning = file.read(len(MAGIC))
    except FileNotFoundError:
        raise LocalModelError(
            f"there is no file {path}: --model, or `model` in [chatd.local], takes the path of a GGUF file"
        ) from None
    except IsADirectoryError:
        raise LocalModelError(f"{path} is a directory: name the GGUF file in it") from None
    except OSError as error:
        raise LocalModelError(
            f"{path} cannot be read ({error.strerror}): make it readable for the user of this service"
        ) from None
    if beginning != MAGIC:
        raise LocalModelError(
            f"{path} is no GGUF file (it begins with {beginning!r}, not {MAGIC!r}): "
            "download the model in GGUF format, or convert it with llama.cpp's convert_hf_to_gguf.py"
        )
