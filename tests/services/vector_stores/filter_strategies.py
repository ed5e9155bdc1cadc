"""Filters and metadata of all kinds, for properties of what a store makes of them."""

from __future__ import annotations

from hypothesis import strategies as st

FIELDS = ("year", "lang", 'odd "name".x')
DECLARED = ("year",)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, 1, 1.0, 2, 2.5, -3, 2**53 + 1, 1e300]),
    st.sampled_from(["", "1", "de", "en", "é"]),
)
NUMBERS = st.sampled_from([0, 1, 1.5, 2, 2**53 - 1, 2**60])
METADATA = st.fixed_dictionaries(
    {},
    optional={
        "year": st.one_of(st.none(), NUMBERS),
        "lang": st.one_of(SCALARS, st.lists(SCALARS, max_size=3), st.just({"a": 1})),
        FIELDS[2]: st.one_of(SCALARS, st.lists(st.one_of(SCALARS, st.lists(SCALARS, max_size=1)), max_size=3)),
    },
)
RANGES = st.dictionaries(
    st.sampled_from(["gte", "gt", "lte", "lt"]), st.one_of(NUMBERS, st.sampled_from(["a", "e"])), min_size=1, max_size=2
)
CONDITIONS = st.one_of(
    SCALARS,
    st.lists(SCALARS, max_size=3),
    RANGES,
    st.fixed_dictionaries({"ne": st.one_of(SCALARS, st.lists(SCALARS, max_size=2))}, optional={"gte": NUMBERS}),
    st.fixed_dictionaries({"exists": st.booleans()}),
)
FILTERS = st.recursive(
    st.dictionaries(st.sampled_from(FIELDS), CONDITIONS, max_size=2),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"and": st.lists(inner, max_size=3)}),
        st.fixed_dictionaries({"or": st.lists(inner, max_size=3)}),
        st.fixed_dictionaries({"not": inner}),
    ),
    max_leaves=5,
)
