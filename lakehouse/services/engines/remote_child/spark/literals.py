"""The parameters of a statement as literals of Spark Connect."""

from __future__ import annotations

from pyspark.sql.connect.proto import expressions_pb2, relations_pb2, types_pb2

from lakehouse.process.calls.rpc_child import CallError
from lakehouse.services.engines.query_messages import BAD_REQUEST

MAX_DIGITS = 38


def make_sql(sql: str, params: list[object] | dict[str, object]) -> relations_pb2.Relation:
    """The relation of a statement with its parameters. Raises CallError for a value that cannot be one."""
    if isinstance(params, dict):
        named = {name: make_literal(value, f"`{name}`") for name, value in params.items()}
        return relations_pb2.Relation(sql=relations_pb2.SQL(query=sql, named_arguments=named))
    positional = [make_literal(value, str(number)) for number, value in enumerate(params, 1)]
    return relations_pb2.Relation(sql=relations_pb2.SQL(query=sql, pos_arguments=positional))


def limit_rows(relation: relations_pb2.Relation, rows: int) -> relations_pb2.Relation:
    """The first rows of a relation: a server that knows the number stops when it has them."""
    return relations_pb2.Relation(limit=relations_pb2.Limit(input=relation, limit=min(rows, 2**31 - 1)))


def make_literal(value: object, name: str) -> expressions_pb2.Expression:
    """Write a value of JSON as an expression."""
    return expressions_pb2.Expression(literal=_write(value, name))


def _write(value: object, name: str) -> expressions_pb2.Expression.Literal:
    literal = expressions_pb2.Expression.Literal
    if value is None:
        return literal(null=types_pb2.DataType(null=types_pb2.DataType.NULL()))
    if isinstance(value, bool):
        return literal(boolean=value)
    if isinstance(value, int):
        return _write_integer(value, name)
    if isinstance(value, float):
        return literal(double=value)
    if isinstance(value, str):
        return literal(string=value)
    raise CallError(BAD_REQUEST, f"parameter {name} is an array or an object, which no parameter is")


def _write_integer(value: int, name: str) -> expressions_pb2.Expression.Literal:
    literal = expressions_pb2.Expression.Literal
    if -(2**31) <= value < 2**31:
        return literal(integer=value)
    if -(2**63) <= value < 2**63:
        return literal(long=value)
    digits = str(abs(value))
    if len(digits) > MAX_DIGITS:
        raise CallError(BAD_REQUEST, f"parameter {name} has more than {MAX_DIGITS} digits")
    return literal(decimal=literal.Decimal(value=str(value), precision=len(digits), scale=0))
