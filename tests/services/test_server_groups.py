"""The groups of tests that share a server of their process."""

from __future__ import annotations

import pytest

from tests.services.server_groups import find_group, find_place

ENGINES = "tests/services/warehouse/test_cluster_engines.py"
CONFORMANCE = "tests/services/conformance/test_all_services.py"


@pytest.mark.parametrize(
    ("test", "group"),
    [
        (f"{ENGINES}::test_types[flight_sql]", "flight"),
        (f"{ENGINES}::test_a_silent_spark_is_told_from_a_slow_statement", "spark"),
        ("tests/services/warehouse/test_spark_beside_services.py::test_a", "spark"),
        ("tests/services/conformance/test_sql_engines.py::test_a[sail-SET spark.x = [1]\n-y]", "sail"),
        (f"{CONFORMANCE}::test_a[qdrant-killed-vectord]", "qdrant"),
        ("tests/services/retrieval/test_scan.py::test_a[qdrant-spark]", "tests/services/retrieval/test_scan.py"),
        ("tests/services/retrieval/test_scan.py::test_a", "tests/services/retrieval/test_scan.py"),
    ],
)
def test_a_test_belongs_to_the_server_that_its_name_or_first_parameter_has(test: str, group: str) -> None:
    assert find_group(test) == group


def test_the_largest_test_is_the_first_and_others_of_spark_follow() -> None:
    beside = "tests/services/warehouse/test_spark_beside_services.py::test_a"
    tests = [f"{CONFORMANCE}::test_a", f"{ENGINES}::test_a[spark]", beside, f"{ENGINES}::test_a[sail]"]
    assert sorted(tests, key=find_place) == [beside, tests[1], tests[0], tests[3]]
