"""The states of tables that the child has described, kept by name, metadata file and requested snapshot."""

from __future__ import annotations

from collections import OrderedDict

from lakehouse.services.tables.values import DescribedTable

MAX_WEIGHT = 200_000
"""Files and columns of all kept states together, at about 300 bytes each."""


class StateCache:
    """Keeps the states that were used last."""

    def __init__(self, max_weight: int = MAX_WEIGHT) -> None:
        self._states: OrderedDict[tuple[str, str, str | None], DescribedTable] = OrderedDict()
        self._locations: dict[str, str] = {}
        self._max_weight = max_weight
        self._weight = 0

    def get(self, name: str, location: str, snapshot_id: str | None) -> DescribedTable | None:
        """A kept state, None if it is not kept."""
        key = (name, location, snapshot_id)
        state = self._states.get(key)
        if state is not None:
            self._states.move_to_end(key)
        return state

    def put(self, state: DescribedTable, snapshot_id: str | None) -> None:
        """Keep a state. The states of older metadata files of this table are not asked for again and are dropped."""
        if self._locations.get(state.manifest.name, state.location) != state.location:
            for key in [key for key in self._states if key[0] == state.manifest.name]:
                self._weight -= weigh(self._states.pop(key))
        self._locations[state.manifest.name] = state.location
        key = (state.manifest.name, state.location, snapshot_id)
        if (former := self._states.pop(key, None)) is not None:
            self._weight -= weigh(former)
        self._states[key] = state
        self._weight += weigh(state)
        while self._weight > self._max_weight and len(self._states) > 1:
            (name, location, _), oldest = self._states.popitem(last=False)
            self._weight -= weigh(oldest)
            if self._locations.get(name) == location:
                del self._locations[name]


def weigh(state: DescribedTable) -> int:
    """The weight of a state in the cache."""
    return len(state.plan.files) + len(state.plan.fields) + 10
