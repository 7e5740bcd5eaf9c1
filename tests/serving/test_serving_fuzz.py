"""The server fuzzed by its own OpenAPI description (schemathesis)."""

from __future__ import annotations

import pytest
from serving_cases import BEARER, PATIENCE_S, TEXT, answers, built, copied, started  # noqa: F401

schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis")
from hypothesis import HealthCheck, Phase, given, settings  # noqa: E402
from schemathesis.checks import not_a_server_error  # noqa: E402
from schemathesis.specs.openapi.checks import positive_data_acceptance  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.server]
N_EXAMPLES = 40
"""Of each route."""
NOT_CHECKED = [positive_data_acceptance, not_a_server_error]
"""What fits the description may be refused all the same: labels that no model has, say, or a
deadline of a millisecond (504); other errors of the server are looked for here."""


@pytest.fixture(scope="module")
def server(built, tmp_path_factory):  # noqa: F811
    place = copied(built[0], tmp_path_factory.mktemp("fuzz"))
    with started(f"tiny={place}") as server:
        yield server
        assert answers(server.client, [TEXT], k=1)["model"] == "tiny"
        assert server.client.get("/readyz").status_code == 200
        assert not server.events("broken")


@pytest.mark.parametrize("headers", [BEARER, {}], ids=["with the token", "without"])
def test_whatever_is_asked_is_answered_as_described(server, headers):
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    statuses = set()
    for result in schema.get_all_operations():
        operation = result.ok()

        @settings(
            max_examples=N_EXAMPLES, deadline=None, database=None, derandomize=True,
            phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=operation.as_strategy())
        def ask(case):
            answer = case.call(headers=headers, timeout=PATIENCE_S)
            statuses.add(answer.status_code)
            assert answer.status_code < 500 or answer.status_code == 504, answer.text
            case.validate_response(answer, excluded_checks=NOT_CHECKED)

        ask()
    assert {200, 422} <= statuses
    assert (401 in statuses) is not bool(headers)
