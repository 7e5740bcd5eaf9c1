"""The text in which a user asks for methods."""

from __future__ import annotations

import pickle  # only to check that a specification can be handed to another process

import pytest

from learned_index.baselines import (
    default_baselines,
    known_methods,
    methods,
    parse_baselines,
    register,
)
from learned_index.baselines.exact import ExactSearch
from learned_index.baselines.faiss_index import HnswSearch, IvfSearch
from learned_index.errors import InputError


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("hnsw", ["hnsw"]),
        ("hnsw,tree", ["hnsw", "tree"]),
        (" exact , exact-int8 ", ["exact", "exact-int8"]),
        ("hnsw:HNSW16,tree", ["hnsw:HNSW16", "tree"]),
        ("hnsw,tree,ivf:IVF512,Flat", ["hnsw", "tree", "ivf:IVF512,Flat"]),
        ("ivf:IVF1024,SQ8,RFlat,exact", ["ivf:IVF1024,SQ8,RFlat", "exact"]),
        ("ivf(IVF512,Flat),hnsw(HNSW32)", ["ivf(IVF512,Flat)", "hnsw(HNSW32)"]),
        ("ivf:IVF64,Flat,ivf:IVF128,Flat", ["ivf:IVF64,Flat", "ivf:IVF128,Flat"]),
        ("ivf(IVF8,Refine(PQ25x4fs)),knn", ["ivf(IVF8,Refine(PQ25x4fs))", "knn"]),
        (["hnsw,ova", "ivf:IVF8,Flat"], ["hnsw", "ova", "ivf:IVF8,Flat"]),
    ],
)
def test_lists(text, names):
    assert [spec.name for spec in parse_baselines(text)] == names


def test_the_factory_string_reaches_the_method():
    colon, parentheses = parse_baselines("ivf:IVF512,SQ8,RFlat,ivf(IVF64,Flat)")
    assert colon.create().factory == "IVF512,SQ8,RFlat"
    assert parentheses.create().factory == "IVF64,Flat"
    assert colon.create().name == "ivf:IVF512,SQ8,RFlat"
    assert (colon.method, colon.inputs) == ("ivf", "classifiers")
    assert isinstance(parse_baselines("hnsw")[0].create(), HnswSearch)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty name"),
        ("hnsw,,tree", "empty name"),
        ("hsnw", r"method 'hsnw'; did you mean 'hnsw'\? Known are dismec, engine, exact"),
        ("tree,Flat", "'Flat' is no method"),
        ("IVF512,Flat", "'IVF512' is no method"),
        ("tree:Flat", "takes no factory string"),
        ("hnsw:", "names no factory string"),
        ("hnsw()", "names no factory string"),
        ("hnsw(HNSW32", "not closed"),
        ("hnsw)HNSW32", "not opened"),
        ("hnsw,hnsw", "named twice"),
        ("hnsw:IVF5,Flat", "HNSW32"),
        ("hnsw(HNSW8)x", "unknown method"),
    ],
)
def test_mistakes_are_explained(text, message):
    with pytest.raises(InputError, match=message):
        parse_baselines(text)


def test_no_list_at_all():
    with pytest.raises(InputError, match="no method"):
        parse_baselines([])


def test_all_promised_methods_are_there():
    promised = {"learned", "exact", "exact-int8", "hnsw", "ivf", "tree", "knn", "ova"}
    assert promised <= set(known_methods())
    parse_baselines(default_baselines())


def test_options_are_added_without_changing_the_original():
    spec = parse_baselines("ova")[0]
    other = spec.with_options(epochs=3)
    assert other.create().epochs == 3
    assert other.create(epochs=4).epochs == 4
    assert spec.options == {}


def test_a_specification_travels_to_another_process():
    spec = parse_baselines("ivf:IVF8,Flat")[0]
    assert pickle.loads(pickle.dumps(spec)) == spec


def test_other_packages_can_add_methods():
    from learned_index.baselines import registry

    class Mine(ExactSearch):
        pass

    class AlsoMine(ExactSearch):
        pass

    register("mine", summary="mine")(Mine)
    try:
        assert isinstance(parse_baselines("tree,mine")[1].create(), Mine)
        with pytest.raises(InputError, match="registered already"):
            register("mine", summary="also mine")(AlsoMine)
    finally:
        registry._KNOWN.pop("mine")
    with pytest.raises(InputError, match="lower-case"):
        register("IVF", summary="shouting")
    assert methods()["ivf"] is IvfSearch
