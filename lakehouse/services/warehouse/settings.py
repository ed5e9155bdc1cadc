"""Where the bucket and the catalog of a lake beyond one machine are. Both processes import it, so it imports little."""

from __future__ import annotations

import msgspec

VARIABLES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "PGPASSWORD",
    "CATALOG_TOKEN",
    "CATALOG_CREDENTIAL",
)
"""The names of the credentials in the key file and in the environment."""


STATE = "_lakehouse/"
"""The beginning of the keys under which services keep what they share. Clients do not see them."""


class WarehouseSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings: for a pipe to a child process, never for a log, since they have secrets.

    `prefix` ends with a slash, or is empty. `environment` has the variables of `VARIABLES` that are set.
    `catalog` is without user and password.
    """

    bucket: str
    prefix: str
    endpoint: str
    region: str
    path_style: bool
    key_file: str
    environment: dict[str, str]
    catalog: str
    catalog_user: str = ""
    catalog_password: str = ""
    catalog_name: str = "lake"

    @property
    def location(self) -> str:
        """The warehouse as a URL that ends with a slash, behind which the URL of an object has its key."""
        return f"s3://{self.bucket}/{self.prefix}"
