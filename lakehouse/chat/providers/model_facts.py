"""What the configuration says about a model (`[providers.<name>.models.<model>]`), applied to requests and answers."""

from __future__ import annotations

import msgspec

from lakehouse.chat.model.request import Request
from lakehouse.chat.model.usage import Usage
from lakehouse.chat.providers.named_quirks import QuirkFields
from lakehouse.config import ModelTable, PricesTable
from lakehouse.core.errors import ErrBadRequest

NO_PRICES = PricesTable()

MILLION = 1_000_000


def get_model_quirks(facts: ModelTable) -> QuirkFields:
    """The fields of `Quirks` that follow from what a model can do."""
    changes: QuirkFields = {}
    if facts.images is False:
        changes["images"] = "none"
    if facts.schema is not None:
        changes["json_mode"] = "native" if facts.schema else "tool" if facts.tools else "prompt"
    if facts.reasoning is False:
        changes["completions_thinking"] = "none"
    return changes


def check_request(facts: ModelTable, request: Request, *, model: str) -> None:
    """Check that the model can do what a request asks for. Raises ErrBadRequest naming the field."""
    if facts.tools is False and request.tools:
        raise ErrBadRequest(f"`tools` are not possible: the configuration says that {model} has none", field="tools")
    if facts.reasoning is False and request.think:
        raise ErrBadRequest(f"`think` is not possible: the configuration says that {model} has none", field="think")


def add_cost(usage: Usage, prices: PricesTable) -> Usage:
    """The usage with its cost by these prices, if its provider has sent none."""
    if usage.cost_usd is not None or prices == NO_PRICES:
        return usage
    if usage.input_tokens is None and usage.output_tokens is None:
        return usage
    cached = usage.cached_tokens or 0
    uncached = max(0, (usage.input_tokens or 0) - cached)
    cached_price = prices.input if prices.cached_input is None else prices.cached_input
    cost = uncached * prices.input + cached * cached_price + (usage.output_tokens or 0) * prices.output
    return msgspec.structs.replace(usage, cost_usd=cost / MILLION)
