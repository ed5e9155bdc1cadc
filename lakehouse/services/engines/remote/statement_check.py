"""The check of a statement for another engine: one statement, and one that reads.

The check reads tokens, not a tree: a statement is what its first word says, behind the queries of a WITH and the
options of an EXPLAIN. What an engine could do beyond that within a query is refused by name (`Dialect`). The last word
has the engine itself, whose user should have the right to read alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from lakehouse.core.errors import ErrBadRequest, ErrForbidden
from lakehouse.services.engines.remote.dialects import Dialect
from lakehouse.services.engines.remote.statement_tokens import Kind, Token, Unterminated

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


def check_statement(sql: str, dialect: Dialect) -> str:
    """The statement without the semicolon at its end.

    Raises ErrBadRequest for no statement or several ones, ErrForbidden for one that does more than read, naming it.
    """
    checked, failure = sql, None
    readings = 0
    for lexer in dialect.lexers:
        try:
            tokens = lexer.read(sql)
        except Unterminated as error:  # the engine would refuse it as well, if it reads it like this
            failure = error
            continue
        checked = _Check(sql, tokens, dialect).run()
        readings += 1
    if failure is not None and not readings:
        raise _bad_request(str(failure), failure.position)
    return checked


class _Check:
    """The check of one reading of a statement."""

    def __init__(self, sql: str, tokens: Sequence[Token], dialect: Dialect) -> None:
        self._sql = sql
        self._tokens = tokens
        self._dialect = dialect

    def run(self) -> str:
        """Return the statement without its semicolon."""
        end = self._find_end()
        self._tokens = self._tokens[:end]
        if not self._tokens:
            raise ErrBadRequest("there is no statement in `sql`", field="sql")
        self._check_verb(0)
        self._check_calls()
        return self._sql[: self._tokens[-1].end]

    def _find_end(self) -> int:
        """The number of tokens before the semicolon, behind which nothing may follow."""
        for index, token in enumerate(self._tokens):
            if token.is_symbol(";"):
                if any(not later.is_symbol(";") for later in self._tokens[index:]):
                    raise _bad_request("`sql` has several statements: one statement is run at a time", token.position)
                return index
        return len(self._tokens)

    def _check_verb(self, start: int) -> None:
        """Check the statement, or the query in parentheses, that begins at a token."""
        at = start
        while self._is_symbol(at, "("):
            at += 1
        token = self._get(at)
        if token is None or token.kind is not Kind.WORD:
            raise _bad_request("the statement does not begin with a word such as SELECT", self._position_of(at))
        if token.text == "explain" and at == start == 0:
            self._check_verb(self._skip_explain_options(at + 1))
        elif token.text == "with":
            self._check_verb(self._skip_named_queries(at + 1))
        elif token.text in self._dialect.queries:
            self._check_query(at)
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
        self._check_verb(at + 1)
        return self._skip_parentheses(at)

    def _has_query_behind(self, at: int) -> bool:
        """Whether the parentheses at a token are a list of columns, since the query comes behind them."""
        after = self._get(self._skip_parentheses(at))
        return after is not None and (after.is_word("as") or after.is_symbol("("))

    def _skip_parentheses(self, at: int) -> int:
        """The token behind the parenthesis that closes the one at `at`."""
        depth = 0
        for index in range(at, len(self._tokens)):
            if self._tokens[index].is_symbol("("):
                depth += 1
            elif self._tokens[index].is_symbol(")"):
                depth -= 1
                if not depth:
                    return index + 1
        raise _bad_request("a parenthesis is not closed", self._tokens[at].position)

    def _check_query(self, at: int) -> None:
        """No target behind a query: SELECT ... INTO table or file, FROM ... INSERT INTO."""
        depth = 0
        for index, token in enumerate(self._tokens[at:], at):
            depth += token.is_symbol("(") - token.is_symbol(")")
            if depth < 0:
                return
            if not depth and token.is_word("into") and not self._is_symbol(index - 1, "."):
                raise ErrForbidden("the query writes INTO a target", details={"position": token.position})

    def _check_calls(self) -> None:
        """No function that runs programs or statements elsewhere, no path of a file in the place of a table."""
        for index, token in enumerate(self._tokens):
            if token.kind not in (Kind.WORD, Kind.NAME):
                continue
            name = self._name_before(index)
            called = self._is_symbol(index + 1, "(")
            if called and (token.text in self._dialect.functions or name in self._dialect.functions):
                raise _forbidden_call(name, token)
            if called and token.text == "transform" and self._runs_script(index + 1):
                raise _forbidden_call("transform ... using", token)
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

    def _runs_script(self, at: int) -> bool:
        """Whether TRANSFORM (...) at a parenthesis runs a program, and is not the function of this name."""
        after = self._get(self._skip_parentheses(at))
        return after is not None and after.is_word("using", "row", "recordwriter")

    def _get(self, at: int) -> Token | None:
        return self._tokens[at] if 0 <= at < len(self._tokens) else None

    def _is_symbol(self, at: int, text: str) -> bool:
        token = self._get(at)
        return token is not None and token.is_symbol(text)

    def _position_of(self, at: int) -> int:
        token = self._get(at)
        return len(self._sql) if token is None else token.position


def _forbidden_call(name: str, token: Token) -> ErrForbidden:
    return ErrForbidden(f"the statement calls {name}", details={"position": token.position})


def _bad_request(message: str, position: int) -> ErrBadRequest:
    return ErrBadRequest(message, field="sql", details={"position": position})
