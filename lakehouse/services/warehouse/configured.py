"""The settings of a lake beyond one machine, from the configuration and the environment."""

from __future__ import annotations

import base64
from collections.abc import Mapping

from lakehouse.config import LakeTable
from lakehouse.config.urls import BaseURL
from lakehouse.config.warehouse_values import POSTGRESQL
from lakehouse.core.extras import install_hint, missing_modules
from lakehouse.services.warehouse.settings import VARIABLES, WarehouseSettings


def make_settings(lake: LakeTable, environment: Mapping[str, str]) -> WarehouseSettings | None:
    """The settings of a lake beyond one machine, None for one in a folder."""
    if not lake.warehouse:
        return None
    bucket, _, prefix = lake.warehouse.removeprefix("s3://").partition("/")
    user, password = _read_basic(lake.catalog)
    return WarehouseSettings(
        bucket=bucket,
        prefix=f"{prefix}/" if prefix else "",
        endpoint=str(lake.endpoint) or f"https://s3.{lake.region}.amazonaws.com",
        region=lake.region,
        path_style=lake.path_style,
        key_file=lake.key_file,
        environment={name: environment[name] for name in VARIABLES if name in environment},
        catalog=str(lake.catalog),
        catalog_user=user,
        catalog_password=password,
        catalog_name=lake.name,
    )


def find_problem(lake: LakeTable) -> str:
    """What is missing for the catalog, an empty string if nothing is."""
    absent = missing_modules("psycopg2") if lake.catalog.startswith(POSTGRESQL) else []
    return f"lake.catalog {install_hint('postgres', absent)}" if absent else ""


def _read_basic(url: str) -> tuple[str, str]:
    if not isinstance(url, BaseURL) or not url.authorization:
        return "", ""
    user, _, password = (
        base64.b64decode(url.authorization.removeprefix("Basic ")).decode("utf-8", "replace").partition(":")
    )
    return user, password
