"""Stand-ins for omikuji and libpecos with the calls that the adapters make, and points to learn.

They score a label by the sum of its training points' features and see only the ``beam_size`` best
labels, so that a wider beam finds more.
"""

from __future__ import annotations

import dataclasses
import types
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from conftest import tiny_dataset

from learned_index.data.formats.xmc import XmcFormat
from learned_index.encoders.lexical.point_features import point_features

CALLS = []
"""What the stand-ins were asked, in order: (what, value)."""


def points(n_train=200, n_test=40):
    """Features and labels of training and test points: x, y, queries, truth."""
    train, test = tiny_dataset("train", n_train, seed=0), tiny_dataset("test", n_test, seed=1)
    x, queries = point_features(train.texts, test.texts)
    return x, train.labels, queries, test.labels


def best(scores_L, beam_size, k):
    """The expected answer to a query: ids and scores."""
    ids = np.argsort(-scores_L, kind="stable")[: min(beam_size, k)]
    return ids, scores_L[ids]


class HyperParam:
    __slots__ = (
        *("cluster_balanced", "cluster_k", "linear_c", "linear_weight_threshold"),
        *("max_depth", "n_trees"),
    )

    def __init__(self):
        self.n_trees, self.cluster_k, self.cluster_balanced, self.max_depth = 3, 2, True, 20


class OmikujiModel:
    def __init__(self, centroids_LF):
        self.centroids_LF = centroids_LF
        self.threads = None

    @staticmethod
    def default_hyper_param():
        return HyperParam()

    @classmethod
    def train_on_data(cls, data_path, hyper_param=None, n_threads=None):
        CALLS.append(("parameters", {n: getattr(hyper_param, n) for n in HyperParam.__slots__}))
        CALLS.append(("training threads", n_threads))
        path = Path(data_path)
        n_labels = int(path.read_text().split()[2])
        from learned_index.data import LabelVocabulary

        read = XmcFormat().read(
            path.parent, "train", LabelVocabulary([str(i) for i in range(n_labels)])
        )
        return cls((read.labels.T @ read.features).toarray())

    def init_prediction_thread_pool(self, n_threads):
        self.threads = n_threads

    def predict(self, feature_value_pairs, beam_size=10, top_k=10):
        CALLS.append(("predict", self.threads))
        row = np.zeros(self.centroids_LF.shape[1], np.float32)
        for feature, value in feature_value_pairs:
            row[feature] = value
        ids, scores = best(self.centroids_LF @ row, beam_size, top_k)
        return list(zip(ids.tolist(), scores.tolist(), strict=True))

    def save(self, path):
        (Path(path) / "tree0").write_bytes(self.centroids_LF.tobytes())


def fake_omikuji():
    module = types.ModuleType("omikuji")
    module.Model = OmikujiModel
    return {"omikuji": module}


@dataclasses.dataclass
class Params:
    values: dict

    @classmethod
    def from_dict(cls, values, recursive=False):
        return cls(dict(values))


class XLinearModel:
    TrainParams = PredParams = Params

    def __init__(self, centroids_LF, predict_only=False):
        self.centroids_LF, self.predict_only = centroids_LF, predict_only

    @classmethod
    def train(cls, x_NF, y_NL, *, C, train_params, pred_params, pred_kwargs):
        assert C == "chain" and sp.issparse(y_NL) and y_NL.format == "csc"
        CALLS.append(("parameters", train_params.values))
        return cls((y_NL.T @ x_NF).toarray())

    def save(self, folder):
        np.save(Path(folder) / "w.npy", self.centroids_LF)

    @classmethod
    def load(cls, folder, is_predict_only=False):
        return cls(np.load(Path(folder) / "w.npy"), is_predict_only)

    def predict(self, x_BF, *, beam_size, only_topk, threads):
        assert self.predict_only and x_BF.dtype == np.float32 and x_BF.format == "csr"
        CALLS.append(("predict", threads))
        found = [best(row, beam_size, only_topk) for row in (x_BF @ self.centroids_LF.T)]
        # Like the package: columns in any order inside a row, so the reader has to sort.
        ids = np.concatenate([ids[::-1] for ids, _ in found])
        values = np.concatenate([scores[::-1] for _, scores in found]).astype(np.float32)
        bounds = np.cumsum([0, *(len(ids) for ids, _ in found)])
        return sp.csr_matrix((values, ids, bounds), shape=(len(found), len(self.centroids_LF)))


def fake_pecos():
    names = ("pecos", "pecos.xmc", "pecos.xmc.base", "pecos.xmc.xlinear", "pecos.xmc.xlinear.model")
    modules = {name: types.ModuleType(name) for name in names}
    xmc, base = modules["pecos.xmc"], modules["pecos.xmc.base"]

    class Factory:
        @staticmethod
        def create(y_NL, x_NF, *, method):
            assert method == "pifa"
            return y_NL.T @ x_NF

    class Indexer:
        @staticmethod
        def gen(features_LF, *, train_params):
            CALLS.append(("clustering", train_params.values))
            return "chain"

    xmc.LabelEmbeddingFactory, xmc.Indexer = Factory, Indexer
    base.HierarchicalKMeans = types.SimpleNamespace(TrainParams=Params)
    modules["pecos.xmc.xlinear.model"].XLinearModel = XLinearModel
    return modules


FAKES = {"omikuji": fake_omikuji, "pecos": fake_pecos}
