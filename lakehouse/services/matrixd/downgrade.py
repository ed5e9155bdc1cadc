"""The downgrade: a strong model reviews code without the context of the lake, which only helps weak ones."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from lakehouse.core.errors import ErrBadRequest

FULL, ISOLATED = "codereview_lakehouse", "codereview_isolation"
FORCE_VARIABLE = "LH_FORCE_FULL_ENRICHMENT"
"""The environment variable for requests that omit `force_full_enrichment`."""

WEAK = frozenset({"qwen3.5:latest", "qwen3:latest"})


class DowngradeRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `/matrix/downgrade`. `forced_mode`: the caller has chosen the mode, which stays."""

    mode: str = ""
    model: str = ""
    forced_mode: bool = False
    force_full_enrichment: bool | None = None


class DowngradeAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The mode to use, and the requested one if it is another."""

    mode: str
    downgraded_from: str = ""


def choose_mode(
    request: DowngradeRequest, *, weak_models: Collection[str], environment: Mapping[str, str]
) -> DowngradeAnswer:
    """Choose the mode. Raises ErrBadRequest without a mode."""
    if not request.mode:
        raise ErrBadRequest("`mode` is required and must not be empty", field="mode")
    force = request.force_full_enrichment
    if force is None:
        force = environment.get(FORCE_VARIABLE, "").strip().lower() in ("1", "true", "yes", "on")
    if request.mode != FULL or request.forced_mode or force or is_weak(request.model, weak_models):
        return DowngradeAnswer(mode=request.mode)
    return DowngradeAnswer(mode=ISOLATED, downgraded_from=request.mode)


def is_weak(model: str, weak_models: Collection[str]) -> bool:
    """Whether a model needs the context: free ones do, small ones, and those of `[models] weak_models`."""
    return model.endswith(":free") or ":free/" in model or model in WEAK or model in weak_models
