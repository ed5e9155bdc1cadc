"""A session on a server of Spark Connect, and its calls, each of which has a deadline.

Deadlines are of `time.monotonic`. Calls raise CallError, or SessionLost.
"""

from __future__ import annotations

import time
from uuid import uuid4

import grpc
from pyspark.sql.connect.proto import base_pb2, base_pb2_grpc, catalog_pb2, relations_pb2, types_pb2

from lakehouse.process.calls.rpc_child import CallCancelled, CallError
from lakehouse.services.engines.query_messages import BAD_REQUEST, TIMED_OUT
from lakehouse.services.engines.remote_child.spark.connection import open_channel, read_address
from lakehouse.services.engines.remote_child.spark.errors import (
    SessionLost,
    make_call_error,
    read_error,
    unreachable,
)
from lakehouse.services.engines.remote_messages import SourceSettings

ANSWER_TIMEOUT = 15.0
"""Seconds in which a server has to answer the first call. One that has just started takes 3 of them."""
INTERRUPT_TIMEOUT = 1.0
DETAILS_TIMEOUT = 2.0
CLIENT = "lakehouse"
_CONFIGURATION = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.runSQLOnFiles": "false",
    "spark.connect.progress.reportInterval": "100ms",
}


class Session:
    """A session."""

    def __init__(self, settings: SourceSettings, token: str) -> None:
        self.token = token
        self._settings = settings
        self._id = str(uuid4())
        self._server = ""
        self._has_schema = False
        self._user = base_pb2.UserContext(user_id=settings.user or CLIENT)
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self._channel = open_channel(read_address(settings.url, token=bool(token)))
        self._stub = base_pb2_grpc.SparkConnectServiceStub(self._channel)
        self._pending: grpc.Future | None = None

    def open(self, deadline: float) -> None:
        """Connect, and make the catalog of the settings that of the session."""
        self.read_version(deadline)
        pairs = [base_pb2.KeyValue(key=key, value=value) for key, value in _CONFIGURATION.items()]
        operation = base_pb2.ConfigRequest.Operation(set=base_pb2.ConfigRequest.Set(pairs=pairs))
        self._call(self._stub.Config, base_pb2.ConfigRequest(**self._common(), operation=operation), deadline)
        if catalog := self._settings.catalog:
            self._change(catalog_pb2.Catalog(set_current_catalog={"catalog_name": catalog}), deadline)

    def select_schema(self, deadline: float) -> None:
        """Make the schema of the settings that of the session, once it is there: the first table makes it."""
        if self._settings.schema and not self._has_schema:
            change = catalog_pb2.Catalog(set_current_database={"db_name": self._settings.schema})
            try:
                self._change(change, deadline)
            except CallError as error:
                if error.failure.kind != BAD_REQUEST:
                    raise
            else:
                self._has_schema = True

    def read_version(self, deadline: float) -> str:
        """Ask the server for its version, within `ANSWER_TIMEOUT`."""
        first = min(deadline, time.monotonic() + ANSWER_TIMEOUT)
        version = base_pb2.AnalyzePlanRequest.SparkVersion()
        try:
            answer = self._call(self._stub.AnalyzePlan, self._analysis(spark_version=version), first)
        except CallError as error:
            if error.failure.kind == TIMED_OUT and first < deadline:
                raise unreachable(f"it did not answer within {ANSWER_TIMEOUT:g} s") from None
            raise
        self._server = answer.server_side_session_id
        return str(answer.spark_version.version)

    def close(self) -> None:
        """Close the connection; calls that run in other threads fail."""
        self._channel.close()

    def analyze(self, relation: relations_pb2.Relation, deadline: float) -> types_pb2.DataType:
        """Have a statement parsed and bound, without running it; returns the type of its rows."""
        schema = base_pb2.AnalyzePlanRequest.Schema(plan=base_pb2.Plan(root=relation))
        request = self._analysis(schema=schema)
        return self._call(self._stub.AnalyzePlan, request, deadline, sql=relation.sql.query).schema.schema

    def execute(self, relation: relations_pb2.Relation, operation: str, tag: str, deadline: float) -> grpc.Call:
        """Start a statement; the call yields its responses. A connection that breaks does not end the statement."""
        request = base_pb2.ExecutePlanRequest(
            **self._common(), operation_id=operation, tags=[tag], plan=base_pb2.Plan(root=relation)
        )
        option = base_pb2.ExecutePlanRequest.RequestOption(reattach_options={"reattachable": True})
        request.request_options.append(option)
        return self._stub.ExecutePlan(request, timeout=remaining(deadline), metadata=self._metadata)

    def reattach(self, operation: str, last_response: str, deadline: float) -> grpc.Call:
        """Take up a statement whose responses the server has stopped sending."""
        request = base_pb2.ReattachExecuteRequest(
            **self._common(), operation_id=operation, last_response_id=last_response or None
        )
        return self._stub.ReattachExecute(request, timeout=remaining(deadline), metadata=self._metadata)

    def interrupt(self, tag: str) -> bool:
        """End the statements with a tag. Whether there was one. Raises grpc.RpcError."""
        kind = base_pb2.InterruptRequest.InterruptType.INTERRUPT_TYPE_TAG
        request = base_pb2.InterruptRequest(**self._common(), interrupt_type=kind, operation_tag=tag)
        answer = self._stub.Interrupt(request, timeout=INTERRUPT_TIMEOUT, metadata=self._metadata)
        return bool(answer.interrupted_ids)

    def release(self, operation: str) -> None:
        """Let the server forget the responses to a statement that has ended. Does not wait."""
        request = base_pb2.ReleaseExecuteRequest(
            **self._common(), operation_id=operation, release_all=base_pb2.ReleaseExecuteRequest.ReleaseAll()
        )
        self._stub.ReleaseExecute.future(request, timeout=DETAILS_TIMEOUT, metadata=self._metadata)

    def explain(self, error: grpc.RpcError, sql: str) -> CallError:
        """Make the error of the call from one of gRPC, with what the server knows of it. Raises SessionLost."""
        found = read_error(error)
        if found.is_lost_session():
            raise SessionLost from None
        return make_call_error(found, sql, self._fetch_details(found.error_id) if found.error_id else None)

    def _change(self, change: catalog_pb2.Catalog, deadline: float) -> None:
        operation = str(uuid4())
        try:
            for _ in self.execute(relations_pb2.Relation(catalog=change), operation, CLIENT, deadline):
                pass
        except grpc.RpcError as error:
            raise self.explain(error, "") from None

    def _analysis(self, **what: object) -> base_pb2.AnalyzePlanRequest:
        return base_pb2.AnalyzePlanRequest(**self._common(), **what)

    def _common(self) -> dict[str, object]:
        """The fields of all requests."""
        observed = {"client_observed_server_side_session_id": self._server} if self._server else {}
        return {"session_id": self._id, "user_context": self._user, "client_type": CLIENT, **observed}

    def cancel_call(self) -> None:
        """End the wait for an answer; called by another thread."""
        if (pending := self._pending) is not None:
            pending.cancel()

    def _call(
        self, method: grpc.UnaryUnaryMultiCallable, request: object, deadline: float, *, sql: str = ""
    ) -> base_pb2.AnalyzePlanResponse:
        self._pending = answer = method.future(request, timeout=remaining(deadline), metadata=self._metadata)
        try:
            result: base_pb2.AnalyzePlanResponse = answer.result()
        except grpc.RpcError as error:
            raise self.explain(error, sql) from None
        except grpc.FutureCancelledError:
            raise CallCancelled from None
        return result

    def _fetch_details(self, error_id: str) -> base_pb2.FetchErrorDetailsResponse | None:
        request = base_pb2.FetchErrorDetailsRequest(**self._common(), error_id=error_id)
        try:
            details: base_pb2.FetchErrorDetailsResponse = self._stub.FetchErrorDetails(
                request, timeout=DETAILS_TIMEOUT, metadata=self._metadata
            )
        except grpc.RpcError:  # the sentence of the status is there already
            return None
        return details


def remaining(deadline: float) -> float:
    """Seconds until a deadline."""
    return max(0.001, deadline - time.monotonic())
