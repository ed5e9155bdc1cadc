"""The claims of an answer: its sentences, each with the passages that it cites.

A sentence ends with its punctuation and the marks behind it, or with its line. Each item of a list, row of a table and
block of code is on its own. What has no letter and no digit is no claim.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from lakehouse.ask.answer import Claim

_MARK = re.compile(r"\[(\d{1,6})\]")
_CODE_SPAN = re.compile(r"(`+)(?:.*?(?<!`)\1(?!`)|.*)")
_SENTENCE_END = re.compile(
    r"(?<![.!?\u2026])(?P<stop>[.!?\u2026]++)[\"'\u201d\u2019\u00bb)\]*_]*?(?:[ \t]*\[\d{1,6}\])*(?=\s|$)"
    r"|[\u3002\uff01\uff1f]+[\u300d\u300f\u201d]?(?:[ \t]*\[\d{1,6}\])*"
)
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\[\"'])(?:[^\W\d_]|e\.g|i\.e|cf|vs|etc|approx|Dr|Mr|Mrs|Ms|Prof|St|No|Nos|Fig|Eq|Sec|Ch|pp?|ca|bzw|z\.B"
    r"|d\.h|u\.a|Nr|Abs)$"
)
_BEFORE = 16
"""Characters before a full stop in which an abbreviation is looked for."""

_FOLLOWING = re.compile(r"\s*(.)")
_LIST_MARK = re.compile(r"^[ \t]*(?:>[ \t]*)*(?:#{1,6}[ \t]+|[-*+\u2022][ \t]+|\d{1,3}[.)][ \t]+)?")
_FENCE = re.compile(r"^\s*(`{3,})")
_FILLER = "\ue000"
_LETTER = re.compile(r"[^\W_]")


def split_claims(answer: str) -> tuple[Claim, ...]:
    """The claims of an answer whose marks have been checked (`citation_marks`)."""
    found: list[Claim] = []
    for text, is_code in _blocks(answer):
        if is_code:
            found.append(Claim(text=text, citations=()))
            continue
        for sentence, without_code in _sentences(text[_end_of_list_mark(text) :]):
            numbers = tuple(dict.fromkeys(map(int, _MARK.findall(without_code))))
            if _LETTER.search(_MARK.sub("", sentence)):
                found.append(Claim(text=sentence, citations=numbers))
            elif numbers and found:  # marks on a line of their own belong to what is before them
                before = found.pop()
                cited = tuple(dict.fromkeys((*before.citations, *numbers)))
                found.append(Claim(text=before.text, citations=cited))
    return tuple(found)


def _end_of_list_mark(line: str) -> int:
    mark = _LIST_MARK.match(line)
    return 0 if mark is None else mark.end()


def _blocks(answer: str) -> Iterator[tuple[str, bool]]:
    """The lines of the answer, and its blocks of code as a whole; true for code."""
    code: list[str] = []
    fence = ""
    for line in answer.split("\n"):
        mark = _FENCE.match(line)
        if fence:
            code.append(line)
            if mark is not None and len(mark[1]) >= len(fence):
                yield "\n".join(code), True
                code, fence = [], ""
        elif mark is not None:
            code, fence = [line], mark[1]
        else:
            yield line, False
    if code:
        yield "\n".join(code), True


def _sentences(line: str) -> Iterator[tuple[str, str]]:
    """The sentences of a line, as they are and with their code blanked out."""
    masked = _CODE_SPAN.sub(lambda code: _FILLER * len(code[0]), line)
    at = 0
    for end in _SENTENCE_END.finditer(masked):
        if not _continues(masked, end):
            yield line[at : end.end()].strip(), masked[at : end.end()]
            at = end.end()
    if rest := line[at:].strip():
        yield rest, masked[at:]


def _continues(line: str, end: re.Match[str]) -> bool:
    """Whether the sentence goes on behind a full stop: it is an abbreviation's, or a small letter follows."""
    if end["stop"] != "." or "[" in end[0]:
        return False
    following = _FOLLOWING.match(line, end.end())
    if following is not None and following[1].islower():
        return True
    return _ABBREVIATION.search(line[max(0, end.start() - _BEFORE) : end.start()]) is not None
