"""A mark for tests of clients that the suite is too short for: those that are fetched, or wait between requests."""

from __future__ import annotations

import os

import pytest

in_clients_session = pytest.mark.skipif("LAKEHOUSE_CLIENTS" not in os.environ, reason="for `nox -s clients`")
