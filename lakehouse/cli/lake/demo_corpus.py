"""The corpus of `lakehouse serve --demo`: the handbook of the invented gateway whose requests are in the tables."""

from __future__ import annotations

from collections.abc import Iterator

CORPUS = "handbook"

QUESTION = "What happened to the provider borealis?"
"""A question that the handbook answers."""

HANDBOOK = {
    "incidents.md": """
## Outage of borealis, 3 November

On 3 November from 13:40 to 15:10 the provider borealis answered most calls with errors. Four of five requests for
plover-mini and plover-large were answered by the fallback heron-70b at aurora, two to four seconds later than usual;
the others failed with status 502.

## Why clients left during the outage

An answer of the fallback came seconds later than usual, and many clients did not wait for it. A request whose client
leaves is ended at once and logged with status 499. It costs only the tokens that were written until then.

## What was changed after the outage

Since the outage the route to borealis has a circuit breaker: after five failures in a row it is left out for fifteen
seconds, and requests go to the fallback without waiting for another failure.
""",
    "teams.md": """
## The search team

The search team rewrites queries with plover-mini. It sends more than a third of all requests, each with a short
prompt, and has a budget of 0.25 US dollars a day.

## The support team

The support team drafts replies to customers with plover-large, the most expensive model. It was hit hardest by the
outage of borealis, because both of its models are there.

## The reports team and its nightly batch

Every night at two o'clock the reports team summarizes the documents of the day with heron-70b. The batch has the
longest prompts of all, about ten thousand tokens each, and nobody waits for its answers.

## The lab

The lab tries out prompts with heron-8b, which runs on a machine of its own. Its requests cost nothing, and no budget
is set for it.
""",
    "operation.md": """
## Choosing a model

Use plover-mini for short tasks that have to be fast, tern-coder for source code, and heron-70b for long documents at
a low price. Use plover-large only where quality decides: its output costs 7.50 US dollars for a million tokens.

## When a budget is used up

A team that has spent its daily budget gets status 429 until midnight. The limit is raised by whoever is on call,
after a message to the head of the team.

## Deadlines

Every request has a deadline of three minutes over all attempts and fallbacks together. A client may shorten it with
the header X-Request-Timeout-Ms, and cannot extend it.

## Who is on call

The person on call changes every Monday at nine. An outage of a provider is no reason to be called at night while the
fallback answers; a full disk is.
""",
}


def demo_items() -> list[dict[str, object]]:
    """The passages of the handbook as items of an index of texts."""
    return list(_items())


def _items() -> Iterator[dict[str, object]]:
    for source, document in HANDBOOK.items():
        for number, section in enumerate(document.split("## ")[1:], 1):
            heading, _, text = section.partition("\n")
            metadata = {"source": source, "heading": heading, "passage": number}
            yield {"id": f"{source}#{number}", "text": f"{heading}\n\n{' '.join(text.split())}", "metadata": metadata}
