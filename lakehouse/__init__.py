"""Lakehouse: a data lake, language-model gateway and reverse proxy in which everything a request starts ends with it.

    async with lakehouse.open_dispatcher(config) as chat:
        answer = await chat(lakehouse.Request(model="ollama/qwen3:8b", messages=[{"role": "user", "content": "hi"}]))

    async with trio.open_nursery() as nursery:
        service = await nursery.start(lakehouse.serve, config)      # service.urls, service.stop()

This module is the public interface; `lakehouse.testing` is the other public module. A name is imported from its module
on first access, so a program that only chats does not import a web framework.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from lakehouse._version import __version__ as __version__

if TYPE_CHECKING:
    from lakehouse.chat.dispatch.dispatcher import Dispatcher as Dispatcher
    from lakehouse.chat.dispatch.open_dispatcher import LocalServer as LocalServer
    from lakehouse.chat.dispatch.open_dispatcher import open_dispatcher as open_dispatcher
    from lakehouse.chat.dispatch.stream import Stream as Stream
    from lakehouse.chat.model.answer import Answer as Answer
    from lakehouse.chat.model.answer import AnswerFacts as AnswerFacts
    from lakehouse.chat.model.answer import FinishReason as FinishReason
    from lakehouse.chat.model.answer import Supplements as Supplements
    from lakehouse.chat.model.listing import ModelCard as ModelCard
    from lakehouse.chat.model.listing import ProbeResult as ProbeResult
    from lakehouse.chat.model.listing import ProviderState as ProviderState
    from lakehouse.chat.model.listing import ReplicaReport as ReplicaReport
    from lakehouse.chat.model.parts import Audio as Audio
    from lakehouse.chat.model.parts import AudioPart as AudioPart
    from lakehouse.chat.model.parts import File as File
    from lakehouse.chat.model.parts import FilePart as FilePart
    from lakehouse.chat.model.parts import ImagePart as ImagePart
    from lakehouse.chat.model.parts import ImageUrl as ImageUrl
    from lakehouse.chat.model.parts import JsonObject as JsonObject
    from lakehouse.chat.model.parts import Part as Part
    from lakehouse.chat.model.parts import TextPart as TextPart
    from lakehouse.chat.model.parts import VideoPart as VideoPart
    from lakehouse.chat.model.parts import VideoUrl as VideoUrl
    from lakehouse.chat.model.pieces import ContentPiece as ContentPiece
    from lakehouse.chat.model.pieces import DetailedContentPiece as DetailedContentPiece
    from lakehouse.chat.model.pieces import Done as Done
    from lakehouse.chat.model.pieces import Piece as Piece
    from lakehouse.chat.model.pieces import ReasoningDetailsPiece as ReasoningDetailsPiece
    from lakehouse.chat.model.pieces import ReasoningPiece as ReasoningPiece
    from lakehouse.chat.model.pieces import RelayedPiece as RelayedPiece
    from lakehouse.chat.model.pieces import SupplementPiece as SupplementPiece
    from lakehouse.chat.model.pieces import ToolCallPiece as ToolCallPiece
    from lakehouse.chat.model.request import Message as Message
    from lakehouse.chat.model.request import Quorum as Quorum
    from lakehouse.chat.model.request import Request as Request
    from lakehouse.chat.model.request import Role as Role
    from lakehouse.chat.model.tool_calls import AnyToolCall as AnyToolCall
    from lakehouse.chat.model.tool_calls import Custom as Custom
    from lakehouse.chat.model.tool_calls import CustomToolCall as CustomToolCall
    from lakehouse.chat.model.tool_calls import Function as Function
    from lakehouse.chat.model.tool_calls import ToolCall as ToolCall
    from lakehouse.config import Address as Address
    from lakehouse.config import AuthTable as AuthTable
    from lakehouse.config import CatalogdTable as CatalogdTable
    from lakehouse.config import ChatTable as ChatTable
    from lakehouse.config import Config as Config
    from lakehouse.config import ConfigError as ConfigError
    from lakehouse.config import EmbeddTable as EmbeddTable
    from lakehouse.config import FlightSqlTable as FlightSqlTable
    from lakehouse.config import GatewayTable as GatewayTable
    from lakehouse.config import IngestdTable as IngestdTable
    from lakehouse.config import KeyedProviderTable as KeyedProviderTable
    from lakehouse.config import KimiTable as KimiTable
    from lakehouse.config import LakeTable as LakeTable
    from lakehouse.config import Loaded as Loaded
    from lakehouse.config import LocalTable as LocalTable
    from lakehouse.config import MatrixdTable as MatrixdTable
    from lakehouse.config import ModelTable as ModelTable
    from lakehouse.config import ObserverdTable as ObserverdTable
    from lakehouse.config import ObserveTable as ObserveTable
    from lakehouse.config import OllamaCloudTable as OllamaCloudTable
    from lakehouse.config import OllamaTable as OllamaTable
    from lakehouse.config import OpenCodeTable as OpenCodeTable
    from lakehouse.config import OpenRouterTable as OpenRouterTable
    from lakehouse.config import PathwaydTable as PathwaydTable
    from lakehouse.config import PolicyTable as PolicyTable
    from lakehouse.config import PricesTable as PricesTable
    from lakehouse.config import ProviderTable as ProviderTable
    from lakehouse.config import QuerydTable as QuerydTable
    from lakehouse.config import ServerTable as ServerTable
    from lakehouse.config import SessionLimitsTable as SessionLimitsTable
    from lakehouse.config import SessionsTable as SessionsTable
    from lakehouse.config import SparkTable as SparkTable
    from lakehouse.config import StoragedTable as StoragedTable
    from lakehouse.config import SystemTablesTable as SystemTablesTable
    from lakehouse.config import TrinoTable as TrinoTable
    from lakehouse.config import VectordTable as VectordTable
    from lakehouse.config import load_config as load_config
    from lakehouse.config import parse_config as parse_config
    from lakehouse.core.errors import Attempt as Attempt
    from lakehouse.core.errors import ErrBadRequest as ErrBadRequest
    from lakehouse.core.errors import ErrConflict as ErrConflict
    from lakehouse.core.errors import ErrForbidden as ErrForbidden
    from lakehouse.core.errors import ErrInsufficientStorage as ErrInsufficientStorage
    from lakehouse.core.errors import ErrMethodNotAllowed as ErrMethodNotAllowed
    from lakehouse.core.errors import ErrNotFound as ErrNotFound
    from lakehouse.core.errors import ErrNotImplemented as ErrNotImplemented
    from lakehouse.core.errors import ErrNotInstalled as ErrNotInstalled
    from lakehouse.core.errors import ErrPreconditionFailed as ErrPreconditionFailed
    from lakehouse.core.errors import ErrProviderNotFound as ErrProviderNotFound
    from lakehouse.core.errors import ErrRangeNotSatisfiable as ErrRangeNotSatisfiable
    from lakehouse.core.errors import ErrRateLimited as ErrRateLimited
    from lakehouse.core.errors import ErrSessionStopped as ErrSessionStopped
    from lakehouse.core.errors import ErrTimeout as ErrTimeout
    from lakehouse.core.errors import ErrTooLarge as ErrTooLarge
    from lakehouse.core.errors import ErrUnauthorized as ErrUnauthorized
    from lakehouse.core.errors import ErrUnavailable as ErrUnavailable
    from lakehouse.core.errors import ErrUnprocessable as ErrUnprocessable
    from lakehouse.core.errors import ErrUnreached as ErrUnreached
    from lakehouse.core.errors import ErrUnsupportedMediaType as ErrUnsupportedMediaType
    from lakehouse.core.errors import ErrUpstream as ErrUpstream
    from lakehouse.core.errors import LakehouseError as LakehouseError
    from lakehouse.core.failure_classes import ErrorClass as ErrorClass
    from lakehouse.local_model import LocalModelError as LocalModelError
    from lakehouse.runtime.quart_app import LakehouseApp as LakehouseApp
    from lakehouse.runtime.resources import open_local_server as open_local_server
    from lakehouse.runtime.service import serve as serve
    from lakehouse.server.listening import AddressError as AddressError
    from lakehouse.server.server import Service as Service
    from lakehouse.services.contracts.documents import DocumentFormat as DocumentFormat
    from lakehouse.services.host.library import ExportFormat as ExportFormat
    from lakehouse.services.host.library import IngestFormat as IngestFormat
    from lakehouse.services.host.library import IngestMode as IngestMode
    from lakehouse.services.host.library import Lake as Lake
    from lakehouse.services.host.library import Parameters as Parameters
    from lakehouse.services.host.library import SqlResult as SqlResult
    from lakehouse.services.host.library import open_lake as open_lake
    from lakehouse.services.host.library_indexes import AddResult as AddResult
    from lakehouse.services.host.library_indexes import DeleteResult as DeleteResult
    from lakehouse.services.host.library_indexes import SearchHit as SearchHit
    from lakehouse.services.host.library_indexes import SearchResult as SearchResult
    from lakehouse.services.host.library_indexes import SyncResult as SyncResult
    from lakehouse.services.host.library_upload import UploadSource as UploadSource
    from lakehouse.services.ingestd.answer import IngestResult as IngestResult
    from lakehouse.services.ingestd.answer import TableColumn as TableColumn
    from lakehouse.services.ingestd.answer import UploadWarning as UploadWarning
    from lakehouse.services.ingestd.corpora import CorpusResult as CorpusResult
    from lakehouse.services.ingestd.corpora import RemovedSource as RemovedSource
    from lakehouse.services.lake.errors import LakeError as LakeError
    from lakehouse.services.queryd.responses import Scanned as Scanned

_EXPORTS = {
    "lakehouse.chat.dispatch.dispatcher": "Dispatcher",
    "lakehouse.chat.dispatch.open_dispatcher": "LocalServer open_dispatcher",
    "lakehouse.chat.dispatch.stream": "Stream",
    "lakehouse.chat.model.answer": "Answer AnswerFacts FinishReason Supplements",
    "lakehouse.chat.model.listing": "ModelCard ProbeResult ProviderState ReplicaReport",
    "lakehouse.chat.model.parts": (
        "Audio AudioPart File FilePart ImagePart ImageUrl JsonObject Part TextPart VideoPart VideoUrl"
    ),
    "lakehouse.chat.model.pieces": (
        "ContentPiece DetailedContentPiece Done Piece ReasoningDetailsPiece ReasoningPiece RelayedPiece "
        "SupplementPiece "
        "ToolCallPiece"
    ),
    "lakehouse.chat.model.request": "Message Quorum Request Role",
    "lakehouse.chat.model.tool_calls": "AnyToolCall Custom CustomToolCall Function ToolCall",
    "lakehouse.config": (
        "Address AuthTable CatalogdTable ChatTable Config ConfigError EmbeddTable "
        "FlightSqlTable GatewayTable IngestdTable "
        "KeyedProviderTable KimiTable LakeTable Loaded LocalTable MatrixdTable ModelTable ObserveTable ObserverdTable "
        "OllamaCloudTable OllamaTable "
        "OpenCodeTable OpenRouterTable PathwaydTable PolicyTable PricesTable ProviderTable QuerydTable ServerTable "
        "SessionLimitsTable SessionsTable SparkTable StoragedTable SystemTablesTable TrinoTable VectordTable "
        "load_config parse_config"
    ),
    "lakehouse.core.errors": (
        "Attempt ErrBadRequest ErrConflict ErrForbidden ErrInsufficientStorage ErrMethodNotAllowed ErrNotFound "
        "ErrNotImplemented ErrNotInstalled ErrPreconditionFailed ErrProviderNotFound ErrRangeNotSatisfiable "
        "ErrRateLimited ErrSessionStopped ErrTimeout "
        "ErrTooLarge ErrUnauthorized ErrUnavailable ErrUnprocessable ErrUnreached ErrUnsupportedMediaType "
        "ErrUpstream LakehouseError"
    ),
    "lakehouse.core.failure_classes": "ErrorClass",
    "lakehouse.local_model": "LocalModelError",
    "lakehouse.runtime.quart_app": "LakehouseApp",
    "lakehouse.runtime.resources": "open_local_server",
    "lakehouse.runtime.service": "serve",
    "lakehouse.server.listening": "AddressError",
    "lakehouse.server.server": "Service",
    "lakehouse.services.contracts.documents": "DocumentFormat",
    "lakehouse.services.host.library": ("ExportFormat IngestFormat IngestMode Lake Parameters SqlResult open_lake"),
    "lakehouse.services.host.library_indexes": "AddResult DeleteResult SearchHit SearchResult SyncResult",
    "lakehouse.services.host.library_upload": "UploadSource",
    "lakehouse.services.ingestd.answer": "IngestResult TableColumn UploadWarning",
    "lakehouse.services.ingestd.corpora": "CorpusResult RemovedSource",
    "lakehouse.services.lake.errors": "LakeError",
    "lakehouse.services.queryd.responses": "Scanned",
}
"""The public names by module: the same as the imports above, which only type checkers see."""

_MODULES = {name: module for module, names in _EXPORTS.items() for name in names.split()}

__all__ = sorted([*_MODULES, "create_app"])  # noqa: PLE0605 - type checkers read the imports above


def create_app(config: Config | None = None) -> LakehouseApp:
    """The service as a Quart-Trio application, as in `hypercorn -k trio 'lakehouse:create_app()'`.

    Without `config` the configuration is found as `lakehouse serve` finds it. Raises ConfigError. A function of this
    module, not an imported name: Hypercorn looks into the module's namespace only.
    """
    app: LakehouseApp = import_module("lakehouse.runtime.quart_app").create_app(config)
    return app


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
