"""The tables of the configuration with their defaults. Frozen; durations are in seconds, sizes in bytes.

A value is checked against the type of its field. A field that needs more than that has a reader in its metadata: a
function of `values` that checks and converts the value. The tables of the data services are in `lake_tables`, those of
the providers in `provider_tables`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from lakehouse.config import values
from lakehouse.config.fields import parsed_field, parsed_mapping, positive_duration, tables_field
from lakehouse.config.lake_tables import (
    CatalogdTable,
    EmbeddTable,
    IngestdTable,
    LakeTable,
    MatrixdTable,
    ObserverdTable,
    PathwaydTable,
    QuerydTable,
    StoragedTable,
    VectordTable,
)
from lakehouse.config.provider_tables import KimiTable, OllamaCloudTable, OpenCodeTable, OpenRouterTable, ProviderTable
from lakehouse.config.values import Address, Network


@dataclass(frozen=True, kw_only=True, slots=True)
class GatewayTable:
    """`[gateway]`: the listener and the nine services behind it, embedded or at a URL each."""

    bind: Address = parsed_field(values.address, Address("127.0.0.1", 3110))
    storaged_url: str = parsed_field(values.service_url, values.EMBEDDED)
    catalogd_url: str = parsed_field(values.service_url, values.EMBEDDED)
    ingestd_url: str = parsed_field(values.service_url, values.EMBEDDED)
    queryd_url: str = parsed_field(values.service_url, values.EMBEDDED)
    vectord_url: str = parsed_field(values.service_url, values.EMBEDDED)
    embedd_url: str = parsed_field(values.service_url, values.EMBEDDED)
    pathwayd_url: str = parsed_field(values.service_url, values.EMBEDDED)
    matrixd_url: str = parsed_field(values.service_url, values.EMBEDDED)
    observerd_url: str = parsed_field(values.service_url, values.EMBEDDED)
    chatd_url: str = parsed_field(values.optional_service_url, "")
    connect_timeout: float = positive_duration(5.0)
    response_timeout: float = positive_duration(60.0)
    idle_timeout: float = positive_duration(300.0)
    max_connections: int = parsed_field(values.positive_count, 256)
    max_waiting: int = parsed_field(values.count, 1024)
    trusted_proxies: tuple[Network, ...] = parsed_field(values.networks, ())


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalTable:
    """`[chatd.local]`: the embedded model, a file or the demonstration's random weights; `context` is in tokens."""

    model: str = parsed_field(values.path, "")
    demo: bool = False
    context: int = parsed_field(values.positive_count, 4096)

    @property
    def configured(self) -> bool:
        """Whether there is an embedded model."""
        return self.demo or bool(self.model)


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyTable:
    """`[chatd.policy]`: retries, circuit breakers, hedges and broken streams. `on_disconnect` is None for "cancel"."""

    retries: int = parsed_field(values.count, 2)
    backoff: float = parsed_field(values.duration, 0.25)
    max_retry_after: float = parsed_field(values.duration, 30.0)
    breaker_failures: int = parsed_field(values.count, 5)
    breaker_cooldown: float = positive_duration(15.0)
    hedge_after: float | None = parsed_field(values.optional_duration, None)
    on_cut: Literal["error", "resume"] = "error"
    on_disconnect: float | None = parsed_field(values.disconnect, None)


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatTable:
    """`[chatd]`: the dispatcher, its providers and its time limits.

    With `proxy_from_env`, providers are called through the proxy of `HTTPS_PROXY` and the related variables.
    """

    bind: Address | None = parsed_field(values.optional_address, None)
    ollama_url: str = parsed_field(values.optional_url, "http://127.0.0.1:11434")
    timeout: float = positive_duration(180.0)
    first_token_timeout: float = positive_duration(60.0)
    idle_timeout: float = positive_duration(60.0)
    max_connections: int = parsed_field(values.positive_count, 64)
    max_waiting: int = parsed_field(values.count, 1024)
    proxy_from_env: bool = False
    max_body: int = parsed_field(values.size, 8_000_000)
    think: bool = False
    default: Literal["ollama", "local"] = "ollama"
    local: LocalTable = LocalTable()
    ollama_cloud: OllamaCloudTable = OllamaCloudTable()
    openrouter: OpenRouterTable = OpenRouterTable()
    opencode: OpenCodeTable = OpenCodeTable()
    kimi: KimiTable = KimiTable()
    policy: PolicyTable = PolicyTable()


@dataclass(frozen=True, kw_only=True, slots=True)
class OllamaTable:
    """`[ollama]`: Ollama's form of the API. Its clients send no token, so it has a listener without one.

    `allow` are the networks that may connect, in place of `[auth] allow`. `context_length` is in tokens: what clients
    are told of models whose provider does not say.
    """

    bind: Address | None = parsed_field(values.optional_address, None)
    allow: tuple[Network, ...] = parsed_field(values.networks, ())
    context_length: int = parsed_field(values.positive_count, 131_072)


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerTable:
    """`[server]`: draining, and TLS when both files are named."""

    drain_timeout: float = parsed_field(values.duration, 30.0)
    certfile: str = parsed_field(values.path, "")
    keyfile: str = parsed_field(values.path, "")


@dataclass(frozen=True, kw_only=True, slots=True)
class AuthTable:
    """`[auth]`: tokens and networks that may connect. `origins` are the web origins whose pages may call (CORS)."""

    token_env: str = "LAKEHOUSE_TOKEN"  # noqa: S105 - the name of a variable
    token_file: str = parsed_field(values.path, "")
    allow: tuple[Network, ...] = parsed_field(values.networks, ())
    origins: tuple[str, ...] = parsed_field(values.origins, ())
    insecure: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class SystemTablesTable:
    """`[observe.system_tables]`: this service's requests as tables of the lake, if there is one.

    Rows are kept for `retention`, and at most `max_rows` of each table. With `contents`, messages and answers of chats
    are kept for `contents_retention`.
    """

    enabled: bool = True
    retention: float = positive_duration(30 * 86400.0)
    max_rows: int = parsed_field(values.positive_count, 10_000_000)
    contents: bool = False
    contents_retention: float = positive_duration(86400.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class ObserveTable:
    """`[observe]`: the format of the log, and the receiver of traces if `traces_url` is not empty.

    `trace_ratio` is the share of the traces started here that are recorded; a caller's decision is kept.
    """

    log: Literal["auto", "json", "console", "off"] = "auto"
    traces_url: str = parsed_field(values.optional_url, "")
    trace_ratio: float = parsed_field(values.ratio, 1.0)
    trace_content: bool = False
    system_tables: SystemTablesTable = SystemTablesTable()


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionsTable:
    """`[sessions]`: the last `max_sessions` runs are shown. A run that was stopped is refused for `stopped_for`."""

    max_sessions: int = parsed_field(values.positive_count, 1_000)
    stopped_for: float = positive_duration(86_400.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """The whole configuration.

    `providers` are the providers of the user's, and changes of those that are there by default. `models` maps the name
    of a tier to its models, in the order in which they are tried.
    """

    gateway: GatewayTable = GatewayTable()
    chatd: ChatTable = ChatTable()
    providers: Mapping[str, ProviderTable] = tables_field(ProviderTable)
    ollama: OllamaTable = OllamaTable()
    server: ServerTable = ServerTable()
    auth: AuthTable = AuthTable()
    observe: ObserveTable = ObserveTable()
    sessions: SessionsTable = SessionsTable()
    lake: LakeTable = LakeTable()
    storaged: StoragedTable = StoragedTable()
    catalogd: CatalogdTable = CatalogdTable()
    ingestd: IngestdTable = IngestdTable()
    queryd: QuerydTable = QuerydTable()
    vectord: VectordTable = VectordTable()
    embedd: EmbeddTable = EmbeddTable()
    pathwayd: PathwaydTable = PathwaydTable()
    matrixd: MatrixdTable = MatrixdTable()
    observerd: ObserverdTable = ObserverdTable()
    models: Mapping[str, tuple[str, ...]] = parsed_mapping(values.tiers)
