"""A running statement: its responses, as batches of Arrow."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Sequence
from uuid import uuid4

import grpc
import pyarrow as pa
from pyspark.sql.connect.proto import base_pb2, relations_pb2

from lakehouse.process.calls.rpc_child import Call, CallError
from lakehouse.services.engines.query_messages import UNPROCESSABLE
from lakehouse.services.engines.remote_child.spark.errors import SessionLost, unreachable
from lakehouse.services.engines.remote_child.spark.session import Session
from lakehouse.services.engines.remote_messages import RemoteRequest


class Execution:
    """One statement on the server, from its start to its end.

    A server ends the stream of responses after some minutes, or if its connection breaks; the statement goes on there,
    and is taken up again, until the deadline.
    """

    def __init__(
        self, session: Session, request: RemoteRequest, relation: relations_pb2.Relation, deadline: float
    ) -> None:
        self._session = session
        self._relation = relation
        self._sql = request.sql
        self._operation = str(uuid4())
        self._deadline = deadline
        self._stream: grpc.Call | None = None
        self.tag = request.tag
        self.responses = self._read()
        """Raises CallError, and SessionLost if there was no response yet."""
        self.working = threading.Event()
        """Set once tasks of the statement run, or it has ended."""
        self.ended = threading.Event()
        """Set once there is nothing to interrupt any more."""
        self.sent_at = math.inf
        """When the statement was sent to the server, of time.monotonic()."""
        self.detached = False
        """Whether the statement may run on the server while nobody waits for its responses."""

    def end(self) -> None:
        """Stop waiting for responses; a thread that reads them gets an error."""
        self.working.set()
        self.ended.set()
        if (stream := self._stream) is not None:
            stream.cancel()

    def _read(self) -> Iterator[base_pb2.ExecutePlanResponse]:
        last, broken, complete = "", False, False
        self.sent_at = time.monotonic()
        self._stream = self._session.execute(self._relation, self._operation, self.tag, self._deadline)
        while not complete:
            try:
                for response in self._stream:
                    last, broken = response.response_id or last, False
                    complete = response.HasField("result_complete")
                    self._watch(response)
                    yield response
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE or broken or not last:
                    raise self._fail(error, last) from None
                broken = True
            if not complete:
                self._stream = self._session.reattach(self._operation, last, self._deadline)
        self.end()
        self._session.release(self._operation)

    def _watch(self, response: base_pb2.ExecutePlanResponse) -> None:
        if response.HasField("arrow_batch") or response.execution_progress.num_inflight_tasks:
            self.working.set()

    def _fail(self, error: grpc.RpcError, last: str) -> Exception:
        """The error of a stream that has ended. With one of these codes the statement may still run."""
        self.detached = error.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE)
        if not self.detached:
            self.end()
        try:
            return self._session.explain(error, self._sql)
        except SessionLost as lost:
            return unreachable("it was started again while the statement ran") if last else lost


class SparkBatches:
    """The rows of a statement (`source.Batches`)."""

    casts: Sequence[str] = ()
    scanned: tuple[int, int] | None = None

    def __init__(self, execution: Execution, call: Call) -> None:
        self._batches = self._read(execution.responses, call)
        self._first = next(self._batches, None)
        if self._first is None:
            raise CallError(UNPROCESSABLE, "Spark has sent no rows and no columns")
        self.schema: pa.Schema = self._first.schema

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        if self._first is not None:
            yield self._first
            self._first = None
        yield from self._batches

    def _read(self, responses: Iterator[base_pb2.ExecutePlanResponse], call: Call) -> Iterator[pa.RecordBatch]:
        parts: list[bytes] = []
        for response in responses:
            call.check_cancelled()
            if not response.HasField("arrow_batch"):
                continue
            batch = response.arrow_batch
            parts.append(batch.data)
            if len(parts) >= batch.num_chunks_in_batch:  # 0 if a batch is not in chunks
                with pa.ipc.open_stream(b"".join(parts)) as reader:
                    yield from reader
                parts.clear()
