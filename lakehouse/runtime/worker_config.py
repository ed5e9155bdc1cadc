"""The configuration of one worker, which its supervisor sends to it as JSON."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

import msgspec

from lakehouse.config import Config
from lakehouse.config.document import decode_config, encode_config
from lakehouse.runtime.resources import SharedResources
from lakehouse.runtime.runtime import WorkerSlot


class _Document(msgspec.Struct, frozen=True, kw_only=True):
    config: msgspec.Raw
    descriptors: tuple[int, ...]
    index: int
    directory: str
    resources: dict[str, msgspec.Raw]


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerConfig:
    """The configuration, the sockets to serve on, the worker's index, and the resources shared by its supervisor."""

    config: Config
    descriptors: tuple[int, ...]
    index: int
    resources: SharedResources

    def encode(self) -> bytes:
        """As JSON, for the settings of the worker's process."""
        document = _Document(
            config=msgspec.Raw(encode_config(self.config)),
            descriptors=self.descriptors,
            index=self.index,
            directory=str(self.resources.directory),
            resources=dict(self.resources.descriptions),
        )
        return msgspec.json.encode(document)

    @classmethod
    def decode(cls, data: bytes) -> WorkerConfig:
        """What `encode` made. Raises msgspec.DecodeError, ConfigError."""
        document = msgspec.json.decode(data, type=_Document)
        return cls(
            config=decode_config(bytes(document.config)),
            descriptors=document.descriptors,
            index=document.index,
            resources=SharedResources(descriptions=document.resources, directory=Path(document.directory)),
        )

    def worker_slot(self) -> WorkerSlot:
        """The worker's place, with the sockets that it has inherited."""
        sockets = tuple(socket.socket(fileno=descriptor) for descriptor in self.descriptors)
        return WorkerSlot(
            sockets=sockets, resources=self.resources, directory=self.resources.directory, index=self.index
        )
