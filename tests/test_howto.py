"""The code of docs/howto runs, page by page, on a small model."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from cli_cases import ok
from conftest import TOPICS
from document_cases import ROOT, blocks, commands
from index_cases import QUICK, SMALL

from learned_index import ELIAS, EliasConfig, LearnedGraphIndex, TrainingConfig

PAGES = sorted(path.name for path in (ROOT / "docs" / "howto").glob("*.md"))
WITHOUT_CODE = {"index.md", "rivals.md"}
"""A list of pages; commands that tests/comparison runs."""
N_BLOCKS = {
    "embeddings.md": 2,
    "encoder.md": 2,
    "filters.md": 3,
    "labels.md": 2,
    "thresholds.md": 2,
}
N_BLOCKS |= {"updating.md": 2, "serving.md": 2}


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Texts about six topics with their names as labels, a model of them, and an index."""
    rng = np.random.default_rng(0)
    names = [name.capitalize() for name in TOPICS]
    ids = np.arange(240) % len(names)
    # The words of the pages' examples belong to it: a model knows no others.
    more = {"cooking": " seeds water roses rows beds", "weather": " telescope moons planet stars"}
    words = [(line + more.get(name, "")).split() for name, line in TOPICS.items()]
    texts = [" ".join(rng.choice(words[i], size=4)) for i in ids]
    texts[0] += " dough galaxies"
    labels = [[names[i]] for i in ids]
    training = TrainingConfig(stage1_epochs=2, stage2_epochs=2, batch_size=32, seed=0)
    config = EliasConfig(records="yes")
    model = ELIAS("lsa:8", training=training, config=config).fit(texts, labels)
    point_ids = [[i % 12] for i in range(240)]
    vectors = rng.normal(size=(12, 16))[np.ravel(point_ids)] + rng.normal(size=(240, 16)) / 4
    vectors = vectors.astype(np.float32)
    index = LearnedGraphIndex(SMALL, training=QUICK).fit(vectors, point_ids)
    home = tmp_path_factory.mktemp("howto")
    model.save_pretrained(home / "my-model")
    model.to_engine().save_pretrained(home / "fast")
    new = home / "my-new-data"
    new.mkdir()
    (new / "train.jsonl").write_text('{"text": "play a note on the piano", "labels": ["Music"]}\n')
    return SimpleNamespace(
        home=home,
        texts=texts,
        labels=labels,
        ids=point_ids,
        model=model,
        vectors=vectors,
        index=index,
    )


def test_all_pages_are_known() -> None:
    assert {*PAGES} == {*N_BLOCKS} | WITHOUT_CODE


@pytest.mark.parametrize("page", N_BLOCKS)
def test_the_code_of_a_page_runs(page: str, cases, tmp_path, monkeypatch) -> None:
    for name in ("my-model", "fast", "my-new-data"):
        (tmp_path / name).symlink_to(cases.home / name)
    if page == "serving.md":
        (tmp_path / "fast").unlink()  # the page makes it
    monkeypatch.chdir(tmp_path)
    vectors_page = page == "embeddings.md"
    names = {
        "texts": cases.texts, "labels": cases.ids if vectors_page else cases.labels,
        "vectors": cases.vectors, "model": cases.model, "index": cases.index,
    }  # fmt: skip
    ran = 0
    for _, kind, content in blocks(ROOT / "docs" / "howto" / page):
        if kind == "python":
            exec(compile(content, page, "exec"), names)
        elif kind == "console":
            for command in commands(content):
                assert command.line.startswith("li ")
                more = (
                    ["--overwrite"]
                    if " --out newer" in command.line and Path("newer").exists()
                    else []
                )
                ok(*shlex.split(command.line)[1:], *more)
        else:
            continue
        ran += 1
    assert ran == N_BLOCKS[page]
    check = globals().get(f"check_{page.removesuffix('.md')}")
    if check:
        check(names)


def check_labels(names) -> None:
    model = ELIAS.from_pretrained("newer")
    shown = ok("labels", "list", "newer")
    assert "Gardens" in shown and not re.search(r"\bWeather$", shown, re.M)
    assert "Astronomy" not in {name for name, _ in model.predict(["stars and galaxies"], k=8)[0]}


def check_updating(names) -> None:
    before = names["model"].n_points
    assert names["newer"].n_points == before + 2
    assert ELIAS.from_pretrained("newer").n_points > before


def check_thresholds(names) -> None:
    assert all(p >= 0.5 for row in names["probable"] for _, p in row)
    assert any(names["best"])


def check_filters(names) -> None:
    assert set(names["in_stock"].search(names["vectors"][:2], k=3).ids.ravel()) <= {-1, *range(10)}
