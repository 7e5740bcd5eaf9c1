"""Models are copied, pickled and sent: they answer alike, and mapped arrays stay where they are."""

from __future__ import annotations

import copy
import io
import pickle
import shutil
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
import torch
from elias_cases import fitted
from elias_cases import queries as texts
from index_cases import QUICK, SMALL, planted

from learned_index import EngineConfig, LearnedGraphIndex, SearchEngine
from learned_index.errors import ModelFormatError

X, Y = planted()
SENT = [pickle.dumps, lambda engine: pickle.dumps(engine, protocol=2)]


@pytest.fixture(scope="module")
def index():
    return LearnedGraphIndex(SMALL, training=QUICK).fit(X, Y)


@pytest.fixture(scope="module")
def engine(index, tmp_path_factory):
    folder = tmp_path_factory.mktemp("engine") / "saved"
    index.to_engine(EngineConfig(precision="float16")).save_pretrained(folder)
    return SearchEngine.from_pretrained(folder)


def twins(model):
    return [copy.copy(model), copy.deepcopy(model), *(pickle.loads(d(model)) for d in SENT)]


def assert_same(one, other):
    np.testing.assert_array_equal(one.ids, other.ids)
    np.testing.assert_array_equal(one.scores, other.scores)


@pytest.mark.parametrize("searched", [False, True])
@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("variant", ["whole", "restricted", "knobs"])
def test_copies_of_an_engine_answer_alike(index, engine, variant, mapped, searched):
    model = engine if mapped else index.to_engine()
    if variant == "restricted":
        model = model.restrict(deny=range(0, 120, 3))
    elif variant == "knobs":
        model = model.with_knobs(beam_width=1, shortlist_size=7)
    if searched:
        model.search(X[:50], 5, deny=[1])
    for twin in twins(model):
        assert_same(twin.search(X[:50], 5), model.search(X[:50], 5))
        assert_same(twin.search(X[:50], 5, deny=[1]), model.search(X[:50], 5, deny=[1]))
        assert (twin.is_partial, twin.config) == (model.is_partial, model.config)
    received = pickle.loads(pickle.dumps(model))
    assert (
        received._handle.tolist()
        == received.arrays.handle(received.constants, received.config.precision).tolist()
    ), "addresses of its own arrays"


def test_a_mapped_engine_is_sent_as_its_path(engine):
    assert len(pickle.dumps(engine)) < 2000 < engine.nbytes / 10
    received = pickle.loads(pickle.dumps(engine))
    assert isinstance(received.arrays.label_vectors_LP, np.memmap)
    # The edges of a part are its own; what it shares with the whole is not sent.
    part = engine.restrict(allow=[1, 2, 3])
    assert len(pickle.dumps(part)) < 5000
    assert isinstance(pickle.loads(pickle.dumps(part)).arrays.label_vectors_LP, np.memmap)


def test_an_engine_in_memory_is_sent_whole_and_aligned(index):
    received = pickle.loads(pickle.dumps(index.to_engine()))
    assert {a.ctypes.data % 64 for a in received.arrays.named().values() if a.size} == {0}


@pytest.mark.parametrize("change", ["gone", "another"])
def test_an_engine_whose_files_are_gone_or_others_is_refused(index, tmp_path, change):
    index.to_engine().save_pretrained(tmp_path / "engine")
    sent = pickle.dumps(SearchEngine.from_pretrained(tmp_path / "engine"))
    shutil.rmtree(tmp_path / "engine")
    if change == "another":
        index.to_engine(EngineConfig(beam_width=2)).save_pretrained(tmp_path / "engine")
    with pytest.raises(ModelFormatError, match=str(tmp_path / "engine")):
        pickle.loads(sent)


def test_a_link_is_followed_when_the_engine_is_opened(index, tmp_path):
    index.to_engine().save_pretrained(tmp_path / "one")
    index.to_engine(EngineConfig(beam_width=2)).save_pretrained(tmp_path / "two")
    (tmp_path / "current").symlink_to("one")
    engine = SearchEngine.from_pretrained(tmp_path / "current")
    (tmp_path / "current").unlink()
    (tmp_path / "current").symlink_to("two")
    assert pickle.loads(pickle.dumps(engine)).config == engine.config


def test_copies_of_an_index_search_their_own_parameters(index):
    right = index.search(X[:50], 5)
    assert_same(copy.copy(index).search(X[:50], 5), right)
    for twin in twins(index)[1:]:
        assert twin._search_arrays is None, "nothing that was derived is copied"
        assert_same(twin.search(X[:50], 5), right)
        with torch.no_grad():
            twin.label_bias_L[int(right.ids[0, 0])] = -30.0
        assert twin.search(X[:50], 5).ids[0, 0] != right.ids[0, 0]
    assert_same(index.search(X[:50], 5), right)


def test_an_index_stays_where_it_is_while_it_is_sent(index):
    places = [tensor.data_ptr() for tensor in index.state_dict().values()]
    right = index.search(X[:50], 5)
    stream = io.BytesIO()
    ForkingPickler(stream).dump(index)  # as torch.multiprocessing does: it would move tensors
    assert [tensor.data_ptr() for tensor in index.state_dict().values()] == places
    assert_same(index.search(X[:50], 5), right)
    assert_same(pickle.loads(stream.getvalue()).search(X[:50], 5), right)


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_copies_of_a_full_model_answer_alike(where, tmp_path):
    model = fitted()
    for each in (model, model.to_engine()):
        if where == "disk":
            each.save_pretrained(tmp_path / "model", overwrite=True)
            each = type(each).from_pretrained(tmp_path / "model")
        for twin in twins(each):
            assert_same(twin.search(texts(), 5), each.search(texts(), 5))
            assert twin.predict(texts(3), 2) == each.predict(texts(3), 2)
