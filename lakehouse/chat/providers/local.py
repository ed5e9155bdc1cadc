"""The embedded model: llama.cpp's server in a child process of this service, over chat completions."""

from __future__ import annotations

from lakehouse.chat.dialects.base import Form
from lakehouse.chat.dialects.chat_completions.dialect import CHAT_COMPLETIONS
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.model.request import Request
from lakehouse.chat.providers.base import Provider, ProviderEndpoint
from lakehouse.chat.providers.keys import Key
from lakehouse.local_model.readiness import Readiness

_QUIRKS = Quirks(
    provider="local",
    completions_thinking="template",
    capabilities=CHAT_COMPLETIONS.capabilities - {"file", "input_audio", "refusal", "audio"},
    developer_role=False,
    images="none",
    json_mode="native",  # llama.cpp turns it into a grammar
    inline_think="tagged",
)


class Local(Provider):
    """`base_url` ends in `/v1`; the key is the one that the child process was started with.

    `readiness` is the state of that process: requests wait while it starts.
    """

    name = "local"
    keepalive_expiry = 4.0  # the server closes idle connections after five seconds
    streams_only = True  # llama.cpp notices too late that the client of a complete answer has disconnected

    def __init__(self, base_url: str, key: Key | None = None, readiness: Readiness | None = None) -> None:
        super().__init__(base_url, key)
        self.readiness = readiness
        self._endpoint = self.make_endpoint(CHAT_COMPLETIONS, self.bearer)

    def endpoint(self, model: str) -> ProviderEndpoint:  # noqa: ARG002
        return self._endpoint

    def base_quirks(self, model: str, request: Request, form: Form) -> Quirks:  # noqa: ARG002
        return _QUIRKS
