"""Files of packaged models: found without importing their package, checked against a hash, read into numpy."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TYPES: dict[str, np.dtype[Any]] = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4"), "I64": np.dtype("<i8")}


class ModelUnavailable(ImportError):
    """A packaged model cannot be loaded. The message has the cause and the remedy."""


class TensorEntry(msgspec.Struct, frozen=True):
    """One tensor of a file in the format safetensors: its type, its shape, and where its bytes are."""

    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


def find_package(package: str) -> Path | None:
    """The directory of an installed package, which is not imported; None if it is not installed."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def read_checked(path: Path, sha256: str) -> bytes:
    """The content of a file with this hash. Raises ModelUnavailable for another content, and for OSError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelUnavailable(f"{path} cannot be read: {error.strerror}") from None
    if (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise ModelUnavailable(
            f"{path} is not the file that this version was tested with: its SHA-256 is {found}, not {sha256}; "
            "install the package again, in the version that the extra names"
        )
    return content


def read_tensors(content: bytes) -> dict[str, NDArray[Any]]:
    """The tensors of a file in the format safetensors: views of `content`, by name. Raises ValueError."""
    size = int.from_bytes(content[:8], "little")
    header = msgspec.json.decode(content[8 : 8 + size], type=dict[str, msgspec.Raw])
    header.pop("__metadata__", None)
    tensors: dict[str, NDArray[Any]] = {}
    for name, raw in header.items():
        entry = msgspec.json.decode(raw, type=TensorEntry)
        if entry.dtype not in _TYPES:
            raise ValueError(f"the tensor {name} has the type {entry.dtype}, which is not known")
        begin, end = (8 + size + offset for offset in entry.data_offsets)
        tensors[name] = np.frombuffer(content[begin:end], _TYPES[entry.dtype]).reshape(entry.shape)
    return tensors
