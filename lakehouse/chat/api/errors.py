"""From what was raised to the one error that a client is sent."""

from __future__ import annotations

import logging

from lakehouse.core.errors import LakehouseError
from lakehouse.core.groups import single_failure

_log = logging.getLogger("lakehouse.chat")


def to_client_error(raised: Exception | BaseExceptionGroup[BaseException]) -> LakehouseError:
    """The error for the client. Any other exception is logged and becomes an internal error.

    A group with an exception that is no `Exception` in it, such as KeyboardInterrupt, is raised again.
    """
    error = single_failure(raised, LakehouseError)
    if error is not None:
        return error
    if not isinstance(raised, Exception):
        raise raised
    _log.error("unhandled exception in a chat request", exc_info=raised)
    return LakehouseError("internal error; the log has it under this request_id")
