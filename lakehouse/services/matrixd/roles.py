"""Roles of people, as playbooks compare them: regardless of case and of singular or plural."""

from __future__ import annotations


def is_same_role(one: str, other: str) -> bool:
    """Whether two roles do not contradict each other. An empty role agrees with every role."""
    first, second = fold_role(one), fold_role(other)
    return not first or not second or first == second


def fold_role(role: str) -> str:
    """The role in a form that case and plural do not change: "Forklift Operators" like "forklift operator"."""
    folded = " ".join(role.casefold().split())
    if folded.endswith("s") and not folded.endswith("ss"):
        folded = folded[:-1]
    folded = folded.removesuffix("e")  # nurses, boxes
    return folded[:-1] + "i" if folded.endswith("y") else folded  # companies, company
