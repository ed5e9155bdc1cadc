"""What is right and wrong in what came of a case."""

from __future__ import annotations

from itertools import pairwise

from tools.kit.faults.caller import Outcome
from tools.kit.faults.case_model import Case, CaseRun, Evaluation
from tools.kit.faults.formats import TEXT, usage_for
from tools.kit.faults.profiles import Profile

REPEATED_BELOW = ("reset-once", "down-then-back")
"""Faults after which a client may send again by itself: a connection that had been idle and breaks without a byte of an
answer was most likely closed before the request came (RFC 9110, 9.2.2). A trail need not show that."""

SLACK = 0.02
"""Seconds by which the clocks of a network may make a try look early."""


def evaluate_run(profile: Profile, case: Case, played: CaseRun) -> list[str]:
    """Everything that is wrong with it."""
    return [
        *played.problems,
        *case.row.evaluate(profile, case, played),
        *check_request_counts(case, played),
        *check_attempts(case, played),
    ]


def expect_complete(by: int | None = None, *, within: str | None = None, finish: str = "stop") -> Evaluation:
    """The whole answer, every time. `by`: this member's, under its name and with its usage; `within` names the
    profile's limit that it must not take longer than, and half again."""

    def check(profile: Profile, case: Case, played: CaseRun) -> list[str]:
        return [problem for outcome in played.outcomes for problem in one(profile, case, outcome)]

    def one(profile: Profile, case: Case, outcome: Outcome) -> list[str]:
        if finish == "content_filter" and is_failed_stream(case, outcome):
            return [] if outcome.text == TEXT else [f"not the whole answer: {outcome.text!r}"]
        if outcome.end != "whole":
            return [f"no whole answer: {outcome.summary}"]
        problems = [] if outcome.text == TEXT else [f"not the whole answer: {outcome.text!r}"]
        if outcome.finish != finish:
            problems.append(f"finish reason {outcome.finish}, not {finish}")
        if by is not None:
            problems += check_identity(case, by, outcome)
        if within is not None and outcome.seconds > 1.5 * getattr(profile, within):
            problems.append(f"it took {outcome.seconds:.2f} s")
        return problems

    return check


def is_failed_stream(case: Case, outcome: Outcome) -> bool:
    """Whether a failure came as a stream in the form of Responses, which has no status."""
    return case.form == "responses" and case.mode == "stream" and outcome.end == "error"


def is_refusal(case: Case, outcome: Outcome, status: int) -> bool:
    """Whether the caller got an error with this status, or in the form of Responses a stream in its place."""
    if status not in (400, 429) and is_failed_stream(case, outcome):
        return True
    return outcome.end == "refused" and outcome.status == status


def check_identity(case: Case, by: int, outcome: Outcome) -> list[str]:
    """Whether the answer bears its name, and the usage of the member that made it.

    The name is that member's; in Anthropic's form the one that the client wrote, and none in an answer of Ollama's that
    is passed on as it is.
    """
    model = case.members[by][1]
    name = case.alias if case.form == "anthropic" else model
    unnamed = case.form == "ollama" and not outcome.model
    problems = [] if unnamed or outcome.model == name else [f"the answer of {model} bears the name {outcome.model!r}"]
    if outcome.usage != usage_for(model):
        problems.append(f"the usage is {outcome.usage}, not {usage_for(model)}")
    return problems


def expect_refusal(*, status: int, saying: str) -> Evaluation:
    """An error with this status, with the provider's reason in it."""

    def check(_: Profile, case: Case, played: CaseRun) -> list[str]:
        return [
            f"not the provider's reason: {outcome.summary}"
            for outcome in played.outcomes
            if not is_refusal(case, outcome, status) or saying not in str(outcome.error.get("message"))
        ]

    return check


def expect_error(_: Profile, case: Case, played: CaseRun) -> list[str]:
    """Nothing that could be taken for a whole answer: an error with its status, or at the end of the stream."""
    problems = []
    for outcome in played.outcomes:
        if outcome.end not in ("refused", "error"):
            problems.append(f"passed off as whole: {outcome.summary}, {outcome.text!r}")
        elif outcome.end == "refused" and outcome.status < 500:
            problems.append(f"not an error of the gateway's: {outcome.summary}")
        elif case.mode == "stream" and not TEXT.startswith(outcome.text):
            problems.append(f"not what was said: {outcome.text!r}")
    return problems


def expect_deadline_error(profile: Profile, case: Case, played: CaseRun) -> list[str]:
    """504 at the caller's deadline."""
    problems = []
    for outcome in played.outcomes:
        if not is_refusal(case, outcome, 504):
            problems.append(f"not 504: {outcome.summary}")
        if not profile.caller - SLACK <= outcome.seconds <= profile.caller + max(0.25, profile.caller / 4):
            problems.append(f"after {outcome.seconds:.3f} s, not {profile.caller:g}")
    return problems


def expect_open_circuit(failures: int) -> Evaluation:
    """So many errors of the provider's, then 503 at once, with a Retry-After."""

    def check(profile: Profile, case: Case, played: CaseRun) -> list[str]:
        problems = []
        refusals = [outcome for outcome in played.outcomes if outcome.status == 503 or is_skipped(case, outcome)]
        if any(outcome.end not in ("refused", "error") for outcome in played.outcomes):
            problems.append("passed off as whole")
        if len(refusals) < len(played.outcomes) - failures - count_probes(profile, played):
            problems.append(f"only {len(refusals)} of {len(played.outcomes)} were refused with 503")
        if any("retry-after" not in outcome.headers for outcome in refusals if outcome.status == 503):
            problems.append("a 503 without Retry-After")
        return problems + expect_spared(failures)(profile, case, played)

    return check


def is_skipped(case: Case, outcome: Outcome) -> bool:
    """Whether the failure of a stream in the form of Responses says that every circuit is open."""
    return is_failed_stream(case, outcome) and "circuit" in str(outcome.error.get("message"))


def expect_spared(failures: int) -> Evaluation:
    """The first member was asked no more often than a circuit lets through: `failures` times, and a probe for each
    cooldown."""

    def check(profile: Profile, _: Case, played: CaseRun) -> list[str]:
        asked = len(played.recorded[0])
        return [f"it was asked {asked} times"] if asked > failures + count_probes(profile, played) else []

    return check


def count_probes(profile: Profile, played: CaseRun) -> float:
    """How many probes may have gone to the first member while this was played."""
    visits = played.recorded[0]
    return 1 + (visits[-1].at - visits[0].at) / profile.breaker_cooldown if visits else 0


def expect_recovery(profile: Profile, case: Case, played: CaseRun) -> list[str]:
    """The provider that came back was used again, and had not been hammered while it was down."""
    began = played.recorded[0][0].at
    during = [visit for visit in played.recorded[0] if visit.at < began + profile.down]
    problems = expect_complete()(profile, case, played)
    if played.outcomes[-1].usage != usage_for(case.members[0][1]):
        problems.append("the first model was not asked again after it had come back")
    allowed = 2 * (6 + profile.down / profile.breaker_cooldown)  # twice: see `REPEATED_BELOW`
    return [*problems, f"asked {len(during)} times while it was down"] if len(during) > allowed else problems


def expect_no_answer(_: Profile, __: Case, played: CaseRun) -> list[str]:
    """The caller has left; there is nobody to judge for."""
    return [
        f"the caller had an answer before leaving: {outcome.summary}"
        for outcome in played.outcomes
        if outcome.end != "left"
    ]


def check_request_counts(case: Case, played: CaseRun) -> list[str]:
    """No hammering, no second try of a refusal, and nobody is asked before the time that they named."""
    problems = []
    calls = len(played.outcomes)
    for (_, model), visits, (least, most) in zip(case.members, played.recorded, case.row.tries, strict=True):
        if not least * calls <= len(visits) <= most * calls:
            problems.append(f"{model} was asked {len(visits)} times, not {least * calls} to {most * calls}")
        for before, after in pairwise(visits):
            if before.retry_after is not None and after.at < before.at + before.retry_after - SLACK:
                problems.append(
                    f"{model} was asked again {after.at - before.at:.2f} s after it said {before.retry_after:g} s"
                )
    return problems


def check_attempts(case: Case, played: CaseRun) -> list[str]:
    """Where a trail of attempts is given, it must be that of the provider's own memory."""
    trails = [outcome.attempts for outcome in played.outcomes if outcome.attempts is not None]
    if len(trails) != len(played.outcomes):
        return []
    told = [attempt["model"] for attempts in trails for attempt in attempts]
    problems = []
    for (_, model), fault, visits in zip(case.members, case.row.chain, played.recorded, strict=True):
        unseen = fault in REPEATED_BELOW and told.count(model) < len(visits)
        if told.count(model) != len(visits) and not unseen:
            problems.append(
                f"the trail has {told.count(model)} attempts at {model}, which was asked {len(visits)} times"
            )
    for outcome in played.outcomes:
        number = outcome.headers.get("x-lakehouse-attempts")
        if case.mode == "whole" and outcome.attempts is not None and number != str(len(outcome.attempts)):
            problems.append(f"X-Lakehouse-Attempts is {number}, and there are {len(outcome.attempts)}")
    return problems
