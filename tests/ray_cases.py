"""A cluster of Ray on this machine, shared by the tests of what runs on one."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import ray


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Of two processors, listening on loopback; it ends with the module."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error",
             _node_ip_address="127.0.0.1")  # fmt: skip
    yield
    ray.shutdown()
