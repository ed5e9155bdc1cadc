"""Where a lake goes, and the mark by which its folder knows it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from lakehouse.config.warehouse_values import POSTGRESQL
from lakehouse.services.lake.promoted import Promoted, read_mark
from lakehouse.services.postgres.address import PostgresAddress
from lakehouse.services.promotion.process import Refused
from lakehouse.services.warehouse.settings import WarehouseSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a lake goes: the warehouse and the catalog as they are named in the configuration, and their settings."""

    warehouse: str
    catalog: str
    settings: WarehouseSettings
    records: PostgresAddress | None = None
    """The database for traces and operations; without, they stay in the folder."""

    @property
    def is_sql(self) -> bool:
        """Whether the catalog is in PostgreSQL, and not behind a REST API."""
        return self.catalog.startswith(POSTGRESQL)

    def read_mark(self, folder: Path) -> Promoted | None:
        """The mark of a folder, None if it has none. Raises Refused if it is that of another target."""
        mark = read_mark(folder)
        if mark is None or (mark.warehouse, mark.catalog, mark.name) == self._names:
            return mark
        raise Refused(
            f"the lake {folder} was promoted to {mark.warehouse} (catalog {mark.name} in {mark.catalog}): what it has"
            " is out of date. Promote to that target again to complete it"
        )

    def make_mark(self, state: Literal["switching", "promoted"], promotion: str) -> Promoted:
        """The mark of a folder that is promoted here, now."""
        warehouse, catalog, name = self._names
        time = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return Promoted(state=state, promotion=promotion, warehouse=warehouse, catalog=catalog, name=name, time=time)

    @property
    def _names(self) -> tuple[str, str, str]:
        return self.warehouse, self.catalog, self.settings.catalog_name
