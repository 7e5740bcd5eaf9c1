"""Final rankers by number of points: what is measured, on a small model."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner
from elias_cases import finally_ranked, train_data

from benchmarks.final_rankers import METHODS, main, with_entropy
from learned_index.data import write_dataset
from learned_index.ranking.evidence import EVIDENCE


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("final-rankers")
    write_dataset(folder / "data", [train_data()], format_name="text")
    for refit in ("no", "yes"):
        finally_ranked("linear", refit=refit).save_pretrained(folder / refit)

    def ask(refit: str, points: str, *more: str):
        options = ["--points", points, "--measured", "40", "--draws", "1", "--threads", "1", *more]
        return CliRunner().invoke(
            main, ["--data", str(folder / "data"), "--model", str(folder / refit), *options]
        )

    return ask


def test_every_final_ranker_has_a_row_for_each_number_of_points(run):
    result = run("no", "30,60")
    assert result.exit_code == 0, result.output
    rows = [line.split(" | ") for line in result.stdout.splitlines()[2:]]
    assert [(row[0], row[1]) for row in rows] == [
        (f"| {size}", method) for size in (30, 60) for method in METHODS
    ]
    assert all(0 < float(row[2]) <= 100 for row in rows)


def test_entropy_is_a_column_of_its_own(run):
    result = run("no", "30", "--with-entropy")
    assert result.exit_code == 0, result.output
    rows = [line.split(" | ") for line in result.stdout.splitlines()[2:]]
    names = [*METHODS, *(f"{method}, entropy" for method in METHODS)]
    assert [row[1] for row in rows] == names
    sure, torn = np.zeros((2, 3, len(EVIDENCE)), np.float32)
    sure[:, EVIDENCE.index("log_p")], torn[:, EVIDENCE.index("log_p")] = [0, -9, -9], -1
    for each in (sure, torn):
        each[:, EVIDENCE.index("found")] = [1, 1, 0]
    wider = with_entropy(np.stack([sure, torn]))
    assert wider.shape == (2, 3, len(EVIDENCE) + 1)
    np.testing.assert_allclose(wider[1, :, -1], np.log(2), rtol=1e-5)
    assert (wider[0, :, -1] < 0.01).all() and (wider[0, :, -1] > 0).all()


@pytest.mark.parametrize(
    ("refit", "points", "why"),
    [("yes", "30", "--refit no"), ("no", "5000", "need 5040")],
)
def test_models_that_cannot_be_asked_are_refused(run, refit, points, why):
    result = run(refit, points)
    assert result.exit_code == 2 and why in result.stderr
