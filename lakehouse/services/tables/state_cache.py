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
        """Keep a state. The states of other metadata files of this table are not asked for again and are dropped."""
        added = (state.manifest.name, state.location, snapshot_id)
        for key in [key for key in self._states if key[0] == state.manifest.name]:
            if key == added or key[1] != state.location:
                self._weight -= weigh(self._states.pop(key))
        self._states[added] = state
        self._weight += weigh(state)
        while self._weight > self._max_weight and len(self._states) > 1:
            self._weight -= weigh(self._states.popitem(last=False)[1])


def weigh(state: DescribedTable) -> int:
    """The weight of a state in the cache."""
    return len(state.plan.files) + len(state.plan.fields) + 10
