"""Compiled models answer where torch and its like cannot be imported, bit for bit the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from children import refusing
from elias_cases import finally_ranked, fitted, queries, train_data, without_ranker
from encoder_models import make_bert, make_sentence_transformer

from learned_index import ELIAS
from learned_index.encoders import (
    BagOfWordsEncoder,
    ConcatenatedEncoder,
    LSAEncoder,
    PrecomputedEncoder,
    StaticEncoder,
    StudentEncoder,
)
from learned_index.encoders.concatenated import ConcatenatedSearchEncoder
from learned_index.encoders.distilled.static_search import StaticSearchEncoder
from learned_index.encoders.distilled.student_search import StudentSearchEncoder
from learned_index.encoders.lexical.bow_search import BagOfWordsSearchEncoder
from learned_index.encoders.lexical.lsa import FeatureSvdEncoder
from learned_index.errors import InputError

REFUSED = (
    *("torch", "transformers", "sentence_transformers", "faiss", "matplotlib", "sklearn"),
    *("onnxruntime", "onnx", "triton", "yaml", "pyarrow", "pandas"),
)
ASKED = """
import json, sys
import numpy as np, scipy.sparse as sp
from pathlib import Path
from learned_index import ELIAS, SearchEngine
from learned_index.errors import InputError, LearnedIndexError
folder = Path(sys.argv[1])
texts = json.loads((folder / "texts.json").read_text())
rows = sp.load_npz(folder / "rows.npz")
told = {}
for path in sorted(folder.glob("*.model")):
    model = ELIAS.from_pretrained(path)
    points = rows if path.stem == "rows" else texts
    given = {"vectors": np.load(folder / "vectors.npy")} if path.stem == "own" else {}
    out = answers(model, points, given)
    np.savez(folder / f"{path.stem}.npz", **out)
    label = int(out["ids"][0, 0])
    if model.ranker_ is not None:
        why = model.explain(texts[0], [label])[0]
        told[path.stem] = [[part.name, part.part] for part in why.evidence]
    smaller = model.remove_labels([label])
    assert label not in smaller.search(points, 5, **given).ids
    smaller.save_pretrained(folder / f"{path.stem}.smaller")
    again = ELIAS.from_pretrained(folder / f"{path.stem}.smaller")
    expected = smaller.search(points, 5, **given)
    np.testing.assert_array_equal(again.search(points, 5, **given).ids, expected.ids)
    if path.stem == "lsa":
        grown = model.add_labels({"toast": ["bread rain chord bread", "rain bread chord"]})
        assert "toast" in dict(grown.predict(["bread rain chord bread"], k=5)[0])
        for learn in (lambda: model.update(["x"], [["y"]]), lambda: model.learn("x", ["y"])):
            try:
                learn()
            except InputError as error:
                assert "compiled" in str(error)
            else:
                raise AssertionError("a compiled model has learned")
refusals = {}
def refusal(name, call):
    try:
        call()
    except LearnedIndexError as error:
        refusals[name] = f"{type(error).__name__}: {error}"
refusal("fit", lambda: ELIAS("lsa:4").fit(["a b", "b c"], [[0], [1]]))
refusal("whole", lambda: ELIAS.from_pretrained(folder / "whole"))
assert not set(REFUSED) & {name.partition(".")[0] for name in sys.modules}
print(json.dumps({"told": told, "refusals": refusals}))
"""
ANSWERS = '''
def answers(model, points, given):
    """Ids and scores in the ways that a model offers."""
    found = model.search(points, 5, **given)
    out = {"ids": found.ids, "scores": found.scores}
    alone = model.search(points, 5, score="index", **given)
    out |= {"index_ids": alone.ids, "index_scores": alone.scores}
    filtered = model.search(points, 5, allow=[0, 1, 2, 6, 7], deny=[1], **given)
    out |= {"filtered_ids": filtered.ids, "filtered_scores": filtered.scores}
    if given:
        return out
    out["named"] = model.score(points, [3, 0, 11])
    if model.calibrator_ is not None:
        out["probabilities"] = model.search(points, 5, score="probability").scores
    out["vectors"] = np.asarray(model.encode(points)[0])
    return out
'''
scope: dict = {"np": np}
exec(ANSWERS, scope)
answers = scope["answers"]


def feature_rows(texts: list[str]) -> sp.csr_matrix:
    """Counts of letters: features of a user's own."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    counts = [[text.count(letter) for letter in letters] for text in texts]
    return sp.csr_matrix(np.array(counts, np.float32))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("without")


@pytest.fixture(scope="module")
def models(folder: Path) -> dict[str, ELIAS]:
    """Compiled and saved: a model of each kind of encoder that needs no network."""
    home = folder / "teacher"
    home.mkdir()
    teacher = str(make_sentence_transformer(home / "st", make_bert(home / "bert")))
    train = train_data()
    texts = list(train.texts or [])
    whole = finally_ranked("mixed")
    whole.save_pretrained(folder / "whole")
    student = StudentEncoder(teacher, teaching_texts=40)
    both: list = [LSAEncoder(dim=8), StaticEncoder(teacher)]
    own = LSAEncoder(dim=8).fit(texts)
    np.save(home / "train.npy", own.encode(texts))
    np.save(folder / "vectors.npy", own.encode(queries()))
    made = {
        "lsa": whole,
        "student": fitted(student, final_ranker="fixed"),
        "static": without_ranker(StaticEncoder(teacher)),
        "bow": without_ranker(BagOfWordsEncoder(dim=8)),
        "joined": without_ranker(ConcatenatedEncoder(both)),
        "own": without_ranker(PrecomputedEncoder(home / "train.npy")),
        "rows": without_ranker(FeatureSvdEncoder(dim=8)),
    }
    for name in ("static", "bow", "joined", "own", "rows"):
        points = feature_rows(texts) if name == "rows" else texts
        made[name].fit(points, train.labels, vocabulary=train.vocabulary)
    compiled = {name: model.to_engine() for name, model in made.items()}
    for name, model in compiled.items():
        model.save_pretrained(folder / f"{name}.model")
    (folder / "texts.json").write_text(json.dumps(queries()), encoding="utf-8")
    sp.save_npz(folder / "rows.npz", feature_rows(queries()))
    return compiled


@pytest.fixture(scope="module")
def told(models: dict[str, ELIAS], folder: Path) -> dict:
    """What a process without these packages says; its answers lie in the folder."""
    code = refusing(REFUSED) + f"REFUSED = {REFUSED!r}\n" + ANSWERS + ASKED
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", ["lsa", "student", "static", "bow", "joined", "own", "rows"])
def test_it_answers_bit_for_bit_as_with_them(
    name: str, models: dict[str, ELIAS], folder: Path, told: dict
) -> None:
    given = {"vectors": np.load(folder / "vectors.npy")} if name == "own" else {}
    points = feature_rows(queries()) if name == "rows" else queries()
    expected = answers(models[name], points, given)
    with np.load(folder / f"{name}.npz") as found:
        assert sorted(found) == sorted(expected)
        for part, array in expected.items():
            np.testing.assert_array_equal(found[part], array, err_msg=part)


def test_it_explains_as_with_them(models: dict[str, ELIAS], folder: Path, told: dict) -> None:
    assert sorted(told["told"]) == ["lsa", "student"]
    for name, parts in told["told"].items():
        label = int(models[name].search(queries()[:1], 5).ids[0, 0])
        why = models[name].explain(queries()[0], [label])[0]
        assert parts == [[part.name, part.part] for part in why.evidence]


def test_what_needs_torch_names_the_pip_command(told: dict) -> None:
    for name in ("fit", "whole"):
        found = told["refusals"][name]
        assert found.startswith("MissingExtraError: ")
        assert found.endswith(
            "needs torch, which is not installed; run: pip install 'learned-index[train]'"
        )


def test_compiled_models_hold_encoders_that_only_encode(models: dict[str, ELIAS]) -> None:
    kinds = {
        "student": StudentSearchEncoder,
        "static": StaticSearchEncoder,
        "bow": BagOfWordsSearchEncoder,
        "joined": ConcatenatedSearchEncoder,
    }
    for name, kind in kinds.items():
        assert type(models[name].encoder) is kind
        if name == "joined":
            continue  # its parts say so
        with pytest.raises(InputError, match="only encodes"):
            models[name].encoder.fit(["a text"])


def test_encoders_for_search_give_the_bits_and_files_of_the_others(
    folder: Path, tmp_path: Path, models: dict[str, ELIAS]
) -> None:
    encoder = BagOfWordsEncoder(dim=8).fit(list(train_data().texts or []))
    light = encoder.for_search()
    np.testing.assert_array_equal(light.encode(queries()), encoder.encode(queries()))
    assert light.fingerprint() == encoder.fingerprint()
    encoder.save_pretrained(tmp_path / "a")
    light.save_pretrained(tmp_path / "b")
    for path in sorted((tmp_path / "a").iterdir()):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name
