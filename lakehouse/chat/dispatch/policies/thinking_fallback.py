"""Thinking that a client leaves to the model: requested until the provider says that the model does not think.

Claude Code asks every model for adaptive thinking with an effort. A model without thinking is asked again without it,
and that is remembered for this (provider, model), so that other requests begin there. A client that asks for thinking
explicitly gets the provider's refusal.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import TypeGuard

import msgspec

from lakehouse.chat.model.request import AnthropicRequest, Request
from lakehouse.chat.providers.model_router import Target
from lakehouse.core.errors import LakehouseError
from lakehouse.core.failure_classes import ErrorClass

MAX_MODELS = 4096
"""Model names come from callers, so the number of remembered models is bounded; the least recently used is dropped."""

_REJECTING_CLASSES: tuple[ErrorClass | None, ...] = ("bad_request", "unsupported_parameter")

_ABOUT_THINKING = re.compile(r"think|reasoning|effort", re.IGNORECASE)


class ThinkingFallback:
    """The models that are known not to think."""

    def __init__(self) -> None:
        self._refusing: OrderedDict[Target, None] = OrderedDict()

    def fit(self, target: Target, request: Request, *, thinks: bool = True) -> Request:
        """The request as `target` takes it. `thinks` is false if the configuration says that the model does not."""
        if not _leaves_thinking(request) or (thinks and target not in self._refusing):
            return request
        if thinks:
            self._refusing.move_to_end(target)
        return msgspec.structs.replace(request, think=None, hints=(*request.hints, "thinking"))

    def learn(self, target: Target, request: Request, error: LakehouseError) -> bool:
        """Remember `target` if `error` shows that it does not think. Whether it was not known."""
        if not _leaves_thinking(request) or target in self._refusing:
            return False
        if error.error_class not in _REJECTING_CLASSES or error.upstream_status is None:
            return False
        if _ABOUT_THINKING.search(error.message) is None:
            return False
        self._refusing[target] = None
        if len(self._refusing) > MAX_MODELS:
            self._refusing.popitem(last=False)
        return True


def _leaves_thinking(request: Request) -> TypeGuard[AnthropicRequest]:
    return isinstance(request, AnthropicRequest) and request.leaves_thinking and request.think is not None
