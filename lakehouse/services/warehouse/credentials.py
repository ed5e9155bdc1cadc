"""The credentials of a lake beyond one machine: from `[lake] key_file`, and from the environment what it lacks.

They are read again when the file has changed. Values are never printed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lakehouse.services.lake.key_file import KeyFile, KeyFileError
from lakehouse.services.warehouse.settings import VARIABLES


class CredentialsMissing(Exception):
    """There are no credentials, or their file cannot be read; the text says which, and names the configuration key."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Keys of S3, the password of PostgreSQL, token or client credential of a REST catalog; empty for none."""

    key_id: str = field(repr=False)
    secret: str = field(repr=False)
    session: str = field(default="", repr=False)
    postgres_password: str = field(default="", repr=False)
    catalog_token: str = field(default="", repr=False)
    catalog_credential: str = field(default="", repr=False)


class CredentialSource:
    """Where the credentials come from."""

    def __init__(self, key_file: str, environment: Mapping[str, str]) -> None:
        self._file = KeyFile(key_file, environment)
        self._values: Mapping[str, str] | None = None
        self._made: Credentials | None = None

    def load(self) -> Credentials:
        """The credentials as they are now; the same object until they change. Raises CredentialsMissing."""
        try:
            values = self._file.load()
        except KeyFileError as error:
            raise CredentialsMissing(str(error)) from None
        if self._made is None or values is not self._values:
            self._made, self._values = _make(values), values
        return self._made


def _make(values: Mapping[str, str]) -> Credentials:
    key_id, secret, session, password, token, credential = (values.get(name, "") for name in VARIABLES)
    if not key_id or not secret:
        raise CredentialsMissing(
            "there are no keys for the bucket: lake.key_file, or the environment, must have AWS_ACCESS_KEY_ID and"
            " AWS_SECRET_ACCESS_KEY"
        )
    return Credentials(key_id, secret, session, password, token, credential)
