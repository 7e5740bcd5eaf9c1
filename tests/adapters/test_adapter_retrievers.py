"""Retrievers and the component of spaCy, each in its real framework, over one small model."""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import TOPICS
from document_cases import ROOT, blocks

from learned_index import ELIAS, EliasConfig, LabelVocabulary, TrainingConfig
from learned_index.adapters.retrieval import found_labels, opened
from learned_index.errors import InputError, MissingExtraError, ModelFormatError, NotFittedError
from learned_index.system import extras

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"  # nothing goes to a network
TEXT = "bake the bread with yeast and butter"
OTHER = "rain and wind"


def framework(name: str):
    return pytest.importorskip(name, reason=f"{name} is not installed (an extra)")


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A calibrated model of six topics, keys beside texts, some described; and where it lies."""
    rng = np.random.default_rng(0)
    keys = [f"t{number}" for number in range(len(TOPICS))]
    described = ["Food and its making" if name == "cooking" else "" for name in TOPICS]
    vocabulary = LabelVocabulary(keys, [name.capitalize() for name in TOPICS], described)
    ids = np.arange(300) % len(keys)
    more = {"cooking": " fold dough rise"}  # words of the pages' examples
    words = [(line + more.get(name, "")).split() for name, line in TOPICS.items()]
    texts = [" ".join([*rng.choice(words[i], 4), *rng.choice(words[(i + 1) % 6], 2)]) for i in ids]
    training = TrainingConfig(stage1_epochs=1, stage2_epochs=2, batch_size=32, seed=0)
    config = EliasConfig(validation_fraction=0.3)
    model = ELIAS("lsa:8", training=training, config=config)
    model.fit(texts, [[int(i)] for i in ids], vocabulary=vocabulary)
    assert model.calibrator_ is not None
    home = tmp_path_factory.mktemp("adapters")
    model.save_pretrained(home / "my-model")
    return SimpleNamespace(model=model, path=home / "my-model", home=home)


def expected(model: ELIAS, text: str, k: int, **options) -> list[tuple[str, str, float, float]]:
    """Text, key, ranking score and probability of the labels, by the model's own methods."""
    ranked = model.predict([text], k, **options)[0]
    probable = dict(model.predict_proba([text], k, **options)[0])
    keys = model.vocabulary.keys
    return [(n, keys[model.vocabulary.id(n)], s, probable[n]) for n, s in ranked]


def run_page(name: str, cases, tmp_path, monkeypatch) -> dict:
    (tmp_path / "my-model").symlink_to(cases.path)
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs" / "adapters" / name
    (code,) = [content for _, kind, content in blocks(page) if kind == "python"]
    known: dict = {}
    exec(compile(code, name, "exec"), known)
    return known


# -- what they share --------------------------------------------------------------------------


def test_found_labels_are_those_of_the_model(cases) -> None:
    rows = found_labels(cases.model, [TEXT, "", OTHER], k=4, deny=["Music"])
    assert rows[1] == []
    for text, row in zip((TEXT, OTHER), (rows[0], rows[2]), strict=True):
        told = [(a["label"], a["key"], a["score"], a["probability"]) for a in row]
        assert told == expected(cases.model, text, 4, deny=["Music"])
    described = {a["label"]: a.get("description") for row in rows for a in row}
    assert described["Cooking"] == "Food and its making" and described["Weather"] is None
    best = found_labels(cases.model, [TEXT], k=6, threshold="best")[0]
    assert [a["label"] for a in best] == [
        name for name, _ in cases.model.predict([TEXT], 6, threshold="best")[0]
    ]


def test_a_model_is_opened_once(cases, tmp_path) -> None:
    assert opened(cases.model) is cases.model
    assert opened(str(cases.path)).predict([TEXT]) == cases.model.predict([TEXT])
    with pytest.raises(InputError, match="expected an ELIAS model or its path"):
        opened(3)
    with pytest.raises(NotFittedError):
        opened(ELIAS("lsa:8"))
    with pytest.raises(ModelFormatError):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("module", "missing", "extra"),
    [
        ("langchain", "langchain_core", "langchain"),
        ("llama_index", "llama_index", "llama-index"),
        ("haystack", "haystack", "haystack"),
        ("spacy", "srsly", "spacy"),
        ("scikit_learn", "sklearn", "train"),
    ],
)
def test_without_the_framework_the_error_names_its_extra(
    module, missing, extra, monkeypatch
) -> None:
    name = f"learned_index.adapters.{module}"
    for each in [m for m in sys.modules if m.partition(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, each)
    for each in (name, "learned_index.adapters.targets"):
        monkeypatch.delitem(sys.modules, each, raising=False)

    class Missing:
        @staticmethod
        def find_spec(wanted, path=None, target=None):
            if wanted.partition(".")[0] == missing:
                raise ModuleNotFoundError(f"No module named {wanted!r}", name=wanted)

    monkeypatch.setattr(sys, "meta_path", [Missing, *sys.meta_path])
    with pytest.raises(MissingExtraError) as caught:
        importlib.import_module(name)
    assert extras.pip_command(extra) in str(caught.value)


# -- LangChain --------------------------------------------------------------------------------


def test_langchain_in_a_chain(cases, tmp_path, monkeypatch) -> None:
    framework("langchain_core")
    from langchain_core.runnables import RunnableLambda

    from learned_index.adapters.langchain import LearnedIndexRetriever

    retriever = LearnedIndexRetriever(model=cases.path, k=3)
    found = retriever.invoke(TEXT)
    told = [(d.page_content, d.id, d.metadata["score"], d.metadata["probability"]) for d in found]
    assert told == expected(cases.model, TEXT, 3)
    assert found[0].metadata["description"] == "Food and its making"
    assert [d.id for d in found] == [d.metadata["key"] for d in found]
    assert asyncio.run(retriever.ainvoke(TEXT)) == found
    assert retriever.batch([TEXT, OTHER]) == [found, retriever.invoke(OTHER)]
    assert len(retriever.invoke(TEXT, k=1)) == 1
    assert "Cooking" not in {d.page_content for d in retriever.invoke(TEXT, deny=["Cooking"])}
    only = LearnedIndexRetriever(model=cases.model, allow=["t3", "Music"], threshold=0.0)
    assert {d.page_content for d in only.invoke(TEXT)} == {"Weather", "Music"}
    least = only.invoke(TEXT)[0].metadata["probability"]
    above = only.invoke(TEXT, threshold=least)
    assert above and all(d.metadata["probability"] >= least for d in above)
    chain = RunnableLambda(str.lower) | retriever | RunnableLambda(lambda found: found[0].id)
    assert chain.invoke(TEXT.upper()) == found[0].id
    with pytest.raises(InputError, match="no label is called"):
        retriever.invoke(TEXT, deny=["Nothing"])
    names = run_page("langchain.md", cases, tmp_path, monkeypatch)
    assert names["names"][0] == names["documents"][0].page_content == "Cooking"


# -- LlamaIndex -------------------------------------------------------------------------------


def test_llama_index_retrieves_nodes(cases, tmp_path, monkeypatch) -> None:
    framework("llama_index.core")
    from llama_index.core.postprocessor import SimilarityPostprocessor

    from learned_index.adapters.llama_index import LearnedIndexRetriever

    retriever = LearnedIndexRetriever(cases.model, k=3)
    nodes = retriever.retrieve(TEXT)
    told = [(n.text, n.node_id, n.score, n.metadata["probability"]) for n in nodes]
    assert told == expected(cases.model, TEXT, 3)
    assert [n.node_id for n in asyncio.run(retriever.aretrieve(TEXT))] == [n.node_id for n in nodes]
    cut = SimilarityPostprocessor(similarity_cutoff=nodes[0].score).postprocess_nodes(nodes)
    assert [n.node_id for n in cut] == [nodes[0].node_id]
    few = LearnedIndexRetriever(cases.path, allow=["Weather"], deny=["Music"]).retrieve(TEXT)
    assert [n.text for n in few] == ["Weather"]
    names = run_page("llama-index.md", cases, tmp_path, monkeypatch)
    assert names["nodes"][0].text == "Cooking"


# -- Haystack ---------------------------------------------------------------------------------


def test_haystack_in_a_pipeline_that_is_written_and_read(cases, tmp_path, monkeypatch) -> None:
    framework("haystack")
    from haystack import Pipeline
    from haystack.components.joiners import DocumentJoiner

    from learned_index.adapters.haystack import LearnedIndexRetriever

    monkeypatch.setenv("HAYSTACK_DESERIALIZATION_ALLOWLIST", "learned_index.*")
    pipeline = Pipeline()
    filters = {"deny": ["Music"]}
    pipeline.add_component("labels", LearnedIndexRetriever(cases.path, top_k=3, filters=filters))
    pipeline.add_component("joined", DocumentJoiner())
    pipeline.connect("labels.documents", "joined.documents")
    again = Pipeline.loads(pipeline.dumps())
    for each in (pipeline, again):
        found = each.run({"labels": {"query": TEXT}})["joined"]["documents"]
        told = [(d.content, d.id, d.score, d.meta["probability"]) for d in found]
        assert told == expected(cases.model, TEXT, 3, deny=["Music"])
    assert found[0].meta["description"] == "Food and its making"
    component = LearnedIndexRetriever(cases.model, threshold="best")
    only = component.run(query=TEXT, top_k=1, filters={"allow": ["Cooking"]})["documents"]
    assert [d.content for d in only] == ["Cooking"]
    with pytest.raises(InputError, match="only its path can be written"):
        component.to_dict()
    with pytest.raises(InputError, match="expected a dictionary with 'allow' or 'deny'"):
        component.run(query=TEXT, filters={"field": "meta.key"})
    names = run_page("haystack.md", cases, tmp_path, monkeypatch)
    assert names["documents"][0].content == "Cooking" and "my-model" in names["written"]


# -- spaCy ------------------------------------------------------------------------------------


def test_spacy_sets_the_categories(cases, tmp_path, monkeypatch) -> None:
    spacy = framework("spacy")

    nlp = spacy.blank("en")
    pipe = nlp.add_pipe("learned_index", config={"model": str(cases.path), "k": 3})
    found = {name: p for name, _, _, p in expected(cases.model, TEXT, 3)}
    assert nlp(TEXT).cats == found
    assert pipe.labels == tuple(cases.model.vocabulary)
    nlp.to_disk(tmp_path / "pipeline")
    assert spacy.load(tmp_path / "pipeline")(TEXT).cats == found
    config_file = tmp_path / "pipeline" / "config.cfg"
    written = config_file.read_text()
    assert str(cases.path) in written  # where the model was; it may be gone since
    config_file.write_text(written.replace(str(cases.path), str(tmp_path / "gone")))
    assert spacy.load(tmp_path / "pipeline")(TEXT).cats == found
    by_key = spacy.blank("en")
    config = {"keys": "key", "score": "ranking", "deny": ["Music"], "threshold": 0.0}
    by_key.add_pipe("learned_index", config=config).model = cases.model
    wanted = {key: s for _, key, s, _ in expected(cases.model, TEXT, 10, deny=["Music"])}
    assert by_key(TEXT).cats == wanted
    assert by_key.get_pipe("learned_index").labels == cases.model.vocabulary.keys
    names = run_page("spacy.md", cases, tmp_path, monkeypatch)
    assert max(names["categories"], key=names["categories"].get) == "Cooking"


def test_spacy_answers_a_batch_at_once(cases, monkeypatch) -> None:
    spacy = framework("spacy")
    from learned_index.adapters import spacy as adapter

    nlp = spacy.blank("en")
    nlp.add_pipe("learned_index", config={"model": str(cases.path)})
    sizes = []

    def counted(model, texts, **options):
        sizes.append(len(texts))
        return found_labels(model, texts, **options)

    monkeypatch.setattr(adapter, "found_labels", counted)
    texts = [TEXT, OTHER, "", TEXT, OTHER]
    docs = list(nlp.pipe(texts, batch_size=3))
    assert sizes == [3, 2]
    assert [doc.cats for doc in docs] == [nlp(text).cats for text in texts]
    assert docs[2].cats == {}


def test_spacy_says_what_is_wrong(cases, tmp_path: Path) -> None:
    spacy = framework("spacy")
    from learned_index.adapters.spacy import LearnedIndexCategories

    nlp = spacy.blank("en")
    pipe = LearnedIndexCategories(nlp)
    with pytest.raises(NotFittedError, match="has no model"):
        pipe(nlp.make_doc(TEXT))
    with pytest.raises(InputError, match="score is 'p'"):
        LearnedIndexCategories(nlp, score="p")
    with pytest.raises(InputError, match="keys is 'id'"):
        LearnedIndexCategories(nlp, keys="id")
    with pytest.raises(ModelFormatError):
        LearnedIndexCategories(nlp, model=tmp_path)(nlp.make_doc(TEXT))
