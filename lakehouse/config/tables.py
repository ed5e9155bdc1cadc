"""The tables of the configuration with their defaults. Frozen; durations are in seconds, sizes in bytes.

A value is checked against the type of its field. A field that needs more than that has a reader in its metadata: a
function of `values` that checks and converts the value. The tables of the data services are in `lake_tables`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from lakehouse.config import values
from lakehouse.config.fields import parsed_field, positive_duration
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
from lakehouse.config.values import Address, Network

EndpointName = Literal["chat_completions", "messages", "responses"]


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
class ProviderTable:
    """A provider that needs a key: its URL, and the variable and dotenv file that hold the key."""

    base_url: str = parsed_field(values.url, "")
    key_env: str = ""
    key_file: str = parsed_field(values.path, "")


@dataclass(frozen=True, kw_only=True, slots=True)
class OllamaCloudTable(ProviderTable):
    """`[chatd.ollama_cloud]`"""

    base_url: str = parsed_field(values.url, "https://ollama.com")
    key_env: str = "OLLAMA_API_KEY"
    key_file: str = parsed_field(values.path, "/etc/lakehouse/ollama_cloud.env")


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenRouterTable(ProviderTable):
    """`[chatd.openrouter]`: `referer` and `title` are sent when not empty."""

    base_url: str = parsed_field(values.url, "https://openrouter.ai/api/v1")
    key_env: str = "OPENROUTER_API_KEY"
    key_file: str = parsed_field(values.path, "/etc/lakehouse/openrouter.env")
    referer: str = parsed_field(values.header, "")
    title: str = parsed_field(values.header, "Lakehouse")


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenCodeTable(ProviderTable):
    """`[chatd.opencode]`: `endpoints` overrides the endpoint of models, by pattern."""

    base_url: str = parsed_field(values.url, "https://opencode.ai/zen/v1")
    key_env: str = "OPENCODE_API_KEY"
    key_file: str = parsed_field(values.path, "/etc/lakehouse/opencode.env")
    endpoints: Mapping[str, EndpointName] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class KimiTable(ProviderTable):
    """`[chatd.kimi]`: `wire` selects the messages or the chat completions dialect."""

    base_url: str = parsed_field(values.url, "https://api.kimi.com/coding/v1")
    key_env: str = "KIMI_API_KEY"
    key_file: str = parsed_field(values.path, "/etc/lakehouse/kimi.env")
    wire: Literal["messages", "chat"] = "messages"


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
class ObserveTable:
    """`[observe]`: the format of the log, and the receiver of traces if `traces_url` is not empty.

    `trace_ratio` is the share of the traces started here that are recorded; a caller's decision is kept.
    """

    log: Literal["auto", "json", "console", "off"] = "auto"
    traces_url: str = parsed_field(values.optional_url, "")
    trace_ratio: float = parsed_field(values.ratio, 1.0)
    trace_content: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """The whole configuration. `models` maps the name of a tier to its models, in the order in which they are tried."""

    gateway: GatewayTable = GatewayTable()
    chatd: ChatTable = ChatTable()
    server: ServerTable = ServerTable()
    auth: AuthTable = AuthTable()
    observe: ObserveTable = ObserveTable()
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
    models: Mapping[str, tuple[str, ...]] = field(default_factory=dict, metadata={"reader": values.tiers})
