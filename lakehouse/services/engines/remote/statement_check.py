"""The check of a statement for another engine: one statement, and one that reads.

The check reads tokens, not a tree: a statement is what its first word says, behind the queries of a WITH and the
options of an EXPLAIN. What an engine could do beyond that within a query is refused by name (`Dialect`). The last word
has the engine itself, whose user should have the right to read alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lakehouse.core.errors import ErrBadRequest, ErrForbidden
from lakehouse.services.engines.remote.dialects import Dialect
from lakehouse.services.engines.remote.statement_tokens import Ambiguous, Kind, Token, Unterminated

_OTHER_VERBS = frozenset({
    "add", "alter", "analyze", "begin", "cache", "call", "clear", "comment", "commit", "copy", "create",
    "deallocate", "declare", "delete", "deny", "drop", "execute", "export", "grant", "import", "insert", "install",
    "kill", "load", "lock", "merge", "msck", "optimize", "prepare", "put", "refresh", "rename", "repair", "replace",
    "reset", "revoke", "rollback", "set", "start", "truncate", "uncache", "undrop", "unload", "update", "upsert",
    "use", "vacuum",
})  # fmt: skip
"""First words of statements that do more than read."""
_EXPLAIN_OPTIONS = frozenset(
    {"analyze", "verbose", "extended", "codegen", "cost", "formatted", "logical", "plan", "for"}
)

MAX_STATEMENT = 1_000_000
"""Characters of a statement: as many as Trino takes by default."""
MAX_TOKENS = 250_000
"""Tokens of a statement: a list of 125,000 values."""


class Checked(NamedTuple):
    """A statement without the semicolon at its end. One that is no query shows or explains something."""

    sql: str
    is_query: bool


def check_statement(sql: str, dialect: Dialect) -> Checked:
    """Check a statement: some microseconds for each token and each reading.

    Raises ErrBadRequest for no statement or several ones, ErrForbidden for one that does more than read, naming it.
    """
    if len(sql) > MAX_STATEMENT:
        raise ErrBadRequest(
            f"`sql` has {len(sql)} characters: a statement for {dialect.engine} has at most {MAX_STATEMENT}",
            field="sql",
        )
    try:
        return _check_readings(sql, dialect)
    except RecursionError:
        raise ErrBadRequest("the statement is nested too deeply", field="sql") from None


def _check_readings(sql: str, dialect: Dialect) -> Checked:
    checked, failure = None, None
    for lexer in dialect.lexers:
        try:
            tokens = lexer.read(sql, limit=MAX_TOKENS + 1)
        except Unterminated as error:  # the engine would refuse it as well, if it reads it like this
            failure = error
            continue
        except Ambiguous as error:
            raise _bad_request(str(error), error.position) from None
        if len(tokens) > MAX_TOKENS:
            raise ErrBadRequest(f"`sql` has more than {MAX_TOKENS} words and symbols", field="sql")
        found = _Check(sql, tokens, dialect).run()
        checked = found if checked is None else found._replace(is_query=found.is_query or checked.is_query)
    if checked is None:
        assert failure is not None  # noqa: S101 - each lexer has read the statement, or failed
        raise _bad_request(str(failure), failure.position)
    return checked


class _Check:
    """The check of one reading of a statement."""

    def __init__(self, sql: str, tokens: Sequence[Token], dialect: Dialect) -> None:
        self._sql = sql
        self._tokens = tokens
        self._dialect = dialect
        self._closing: Mapping[int, int] = {}

    def run(self) -> Checked:
        """Check all, and find the end."""
        end = self._find_end()
        self._tokens = self._tokens[:end]
        self._closing = _match_parentheses(self._tokens)
        if not self._tokens:
            raise ErrBadRequest("there is no statement in `sql`", field="sql")
        self._check_verb(0)
        self._check_calls()
        is_query = not self._tokens[0].is_word("explain", *self._dialect.shows)
        return Checked(self._sql[: self._tokens[-1].end], is_query)

    def _find_end(self) -> int:
        """The number of tokens before the semicolon, behind which nothing may follow."""
        for index, token in enumerate(self._tokens):
            if token.is_symbol(";"):
                if any(not later.is_symbol(";") for later in self._tokens[index:]):
                    raise _bad_request("`sql` has several statements: one statement is run at a time", token.position)
                return index
        return len(self._tokens)

    def _check_verb(self, start: int, end: int | None = None) -> None:
        """Check the statement, or the query before a parenthesis at `end`, that begins at a token."""
        at = start
        while self._is_symbol(at, "("):
            at += 1
        token = self._get(at)
        if token is None or token.kind is not Kind.WORD:
            raise _bad_request("the statement does not begin with a word such as SELECT", self._position_of(at))
        if token.text == "explain" and at == start == 0:
            self._check_verb(self._skip_explain_options(at + 1))
        elif token.text == "with":
            self._check_verb(self._skip_named_queries(at + 1), end)
        elif token.text in self._dialect.queries:
            self._check_query(at, end)
        elif token.text not in self._dialect.shows:
            self._refuse(token)

    def _refuse(self, token: Token) -> None:
        verb = token.text.upper()
        if token.text in _OTHER_VERBS:
            raise ErrForbidden(
                f"the statement is {verb}: one statement that reads is run", details={"position": token.position}
            )
        raise _bad_request(f"syntax error at {verb}: no statement that reads begins like this", token.position)

    def _skip_explain_options(self, at: int) -> int:
        while (token := self._get(at)) is not None and token.is_word(*_EXPLAIN_OPTIONS):
            at += 1
        if self._is_symbol(at, "(") and (token := self._get(at + 1)) is not None and not self._begins_query(token):
            at = self._skip_parentheses(at)
        return at

    def _begins_query(self, token: Token) -> bool:
        return token.is_symbol("(") or token.is_word(*self._dialect.queries)

    def _skip_named_queries(self, at: int) -> int:
        """The token behind `name [(columns)] [AS] [[NOT] MATERIALIZED] (query), ...`; each query is checked."""
        if (token := self._get(at)) is not None and token.is_word("recursive"):
            at += 1
        while True:
            at = self._skip_named_query(at)
            if not self._is_symbol(at, ","):
                return at
            at += 1

    def _skip_named_query(self, at: int) -> int:
        token = self._get(at)
        if token is None or token.kind not in (Kind.WORD, Kind.NAME):
            raise _bad_request("WITH is written as WITH name AS (query)", self._position_of(at))
        at += 1
        if self._is_symbol(at, "(") and self._has_query_behind(at):
            at = self._skip_parentheses(at)
        while (token := self._get(at)) is not None and token.is_word("as", "not", "materialized"):
            at += 1
        if not self._is_symbol(at, "("):
            raise _bad_request("WITH is written as WITH name AS (query)", self._position_of(at))
        end = self._skip_parentheses(at)
        self._check_verb(at + 1, end - 1)
        return end

    def _has_query_behind(self, at: int) -> bool:
        """Whether the parentheses at a token are a list of columns, since the query comes behind them."""
        after = self._get(self._skip_parentheses(at))
        return after is not None and (after.is_word("as") or after.is_symbol("("))

    def _skip_parentheses(self, at: int) -> int:
        """The token behind the parenthesis that closes the one at `at`."""
        if (closing := self._closing.get(at)) is None:
            raise _bad_request("a parenthesis is not closed", self._tokens[at].position)
        return closing + 1

    def _check_query(self, at: int, end: int | None) -> None:
        """No target behind a query, which may be in parentheses: SELECT ... INTO table or file, FROM ... INSERT."""
        depth = 0
        for index, token in enumerate(self._tokens[at:end], at):
            depth += token.is_symbol("(") - token.is_symbol(")")
            if depth > 0 or self._is_symbol(index - 1, "."):
                continue
            after = self._get(index + 1)
            if token.is_word("into") or (token.is_word("insert") and after is not None and after.is_word("overwrite")):
                what = "writes INTO a target" if token.text == "into" else "is INSERT OVERWRITE"
                raise ErrForbidden(f"the query {what}", details={"position": token.position})

    def _check_calls(self) -> None:
        """No function that runs programs or statements elsewhere, no path of a file in the place of a table."""
        for index, token in enumerate(self._tokens):
            if token.kind not in (Kind.WORD, Kind.NAME):
                continue
            name = self._name_before(index)
            called = self._is_symbol(index + 1, "(")
            if called and (token.text in self._dialect.functions or name in self._dialect.functions):
                raise _forbidden_call(name, token)
            if called and token.is_word("identifier") and self._is_symbol(self._skip_parentheses(index + 1), "("):
                raise _forbidden_call("a function whose name it computes", token)
            if token.is_word("using") and self._names_program(index + 1):
                raise ErrForbidden("the statement runs a program: USING", details={"position": token.position})
            before = self._get(index - 2)
            if (
                token.kind is Kind.NAME
                and before is not None
                and before.text in self._dialect.file_formats
                and self._is_symbol(index - 1, ".")
                and any(character in token.text for character in "/:")
            ):
                raise ErrForbidden("the statement reads a file by its path", details={"position": token.position})

    def _name_before(self, index: int) -> str:
        """The name that ends at a token, with the one part before it."""
        before = self._get(index - 2)
        if before is not None and self._is_symbol(index - 1, ".") and before.kind in (Kind.WORD, Kind.NAME):
            return f"{before.text}.{self._tokens[index].text}"
        return self._tokens[index].text

    def _names_program(self, at: int) -> bool:
        """Whether what is behind USING is the text of a program (MAP, REDUCE, TRANSFORM), or a parameter for it."""
        token = self._get(at)
        return token is not None and (token.kind is Kind.STRING or token.text in ("?", ":"))

    def _get(self, at: int) -> Token | None:
        return self._tokens[at] if 0 <= at < len(self._tokens) else None

    def _is_symbol(self, at: int, text: str) -> bool:
        token = self._get(at)
        return token is not None and token.is_symbol(text)

    def _position_of(self, at: int) -> int:
        token = self._get(at)
        return len(self._sql) if token is None else token.position


def _match_parentheses(tokens: Sequence[Token]) -> Mapping[int, int]:
    """The parenthesis that closes each one that is closed, by their numbers."""
    found: dict[int, int] = {}
    opened: list[int] = []
    for index, token in enumerate(tokens):
        if token.is_symbol("("):
            opened.append(index)
        elif token.is_symbol(")") and opened:
            found[opened.pop()] = index
    return found


def _forbidden_call(name: str, token: Token) -> ErrForbidden:
    return ErrForbidden(f"the statement calls {name}", details={"position": token.position})


def _bad_request(message: str, position: int) -> ErrBadRequest:
    return ErrBadRequest(message, field="sql", details={"position": position})
