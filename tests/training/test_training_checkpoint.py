"""A training that was stopped goes on and ends bit-equal; what cannot go on is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch
from children import ended
from encoder_models import make_bert
from training_cases import (
    QUICK,
    SMALL,
    assert_equal,
    bow,
    fit_frozen,
    fit_texts,
    frozen_points,
    tensors_of,
    text_points,
)

from learned_index import LearnedGraphIndex
from learned_index.encoders.transformer.models import TransformerEncoder
from learned_index.errors import InputError, ModelFormatError, TrainingInterrupted
from learned_index.index import course
from learned_index.persistence import atomic
from learned_index.training import checkpoint as checkpoint_module
from learned_index.training.checkpoint import CheckpointOptions, StopFlag

STEPS = 7  # of an epoch: 200 points in batches of 32


class StopAfter:
    """Asks for a stop after so many steps, once."""

    def __init__(self, steps):
        self.left = steps

    def __call__(self):
        self.left -= 1
        return self.left == 0


def interrupted(fit, directory, steps):
    with pytest.raises(TrainingInterrupted, match="goes on"):
        fit(checkpoint=CheckpointOptions(directory, stop=StopAfter(steps)))
    assert [p.name for p in Path(directory).iterdir() if not p.name.startswith("state-")] == []


def resumed(fit, directory, **options):
    return fit(checkpoint=CheckpointOptions(directory, **options))


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return make_bert(tmp_path_factory.mktemp("bert") / "model")


@pytest.fixture(scope="module")
def unbroken_frozen():
    return tensors_of(fit_frozen())


# In stage 1: 1, the middle, the end of an epoch, of the stage; in stage 2: the same, while
# weights are averaged, and the very last step.
@pytest.mark.parametrize(
    "steps", [1, 4, STEPS, 2 * STEPS, 2 * STEPS + 1, 3 * STEPS, 3 * STEPS + 5, 4 * STEPS]
)
def test_frozen_vectors_end_bit_equal(tmp_path, unbroken_frozen, steps):
    interrupted(fit_frozen, tmp_path / "c", steps)
    assert_equal(tensors_of(resumed(fit_frozen, tmp_path / "c")), unbroken_frozen)


@pytest.mark.parametrize("steps", [3 * STEPS + 2, 4 * STEPS])
def test_rounds_of_stage_2_end_bit_equal(tmp_path, steps):
    fit = partial(fit_frozen, replace(QUICK, fixed_edges=2, assignment_rounds=2))
    interrupted(fit, tmp_path / "c", steps)
    assert_equal(tensors_of(resumed(fit, tmp_path / "c")), tensors_of(fit()))


def test_many_interruptions_end_bit_equal(tmp_path, unbroken_frozen):
    for steps in (3, 6, 8, 2, 5):
        interrupted(fit_frozen, tmp_path, steps)
    assert_equal(tensors_of(resumed(fit_frozen, tmp_path)), unbroken_frozen)


def test_saving_alone_changes_nothing(tmp_path, unbroken_frozen):
    often = resumed(fit_frozen, tmp_path, every_seconds=0.0)
    assert_equal(tensors_of(often), unbroken_frozen)
    assert_equal(tensors_of(resumed(fit_frozen, tmp_path)), unbroken_frozen)  # finished already


def fit_bag_of_words(gradient, **options):
    training = replace(QUICK, label_update_every=2, gradient_clip=1.0)
    texts, Y = text_points()
    encoder = bow(texts, gradient=gradient)
    index = fit_texts(encoder, training, (texts, Y), **options)
    return tensors_of(index, encoder)


unbroken_bag_of_words = cache(fit_bag_of_words)


@pytest.mark.parametrize("gradient", ["dense", "sparse"])
@pytest.mark.parametrize("steps", [3, STEPS + 2, 3 * STEPS + 1, 4 * STEPS + 3])
def test_bag_of_words_ends_bit_equal(tmp_path, gradient, steps):
    unbroken = unbroken_bag_of_words(gradient)
    fit = partial(fit_bag_of_words, gradient)
    interrupted(fit, tmp_path, steps)
    assert_equal(resumed(fit, tmp_path), unbroken)


def fit_bert(bert, **options):
    training = replace(QUICK, stage1_epochs=1, stage2_epochs=1, encoder_learning_rate=1e-3)
    encoder = TransformerEncoder(bert)
    assert encoder.model.config.hidden_dropout_prob > 0
    before = torch.random.get_rng_state()
    index = fit_texts(encoder, training, text_points(100), **options)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not encoder.training
    return tensors_of(index, encoder)


@pytest.fixture(scope="module")
def unbroken_bert(bert):
    return fit_bert(bert)


@pytest.mark.parametrize("steps", [2, 6, 10])
def test_bert_ends_bit_equal_with_its_own_dropout(tmp_path, bert, unbroken_bert, steps):
    fit = partial(fit_bert, bert)
    torch.manual_seed(1234)  # the caller's random numbers must not matter
    interrupted(fit, tmp_path, steps)
    torch.manual_seed(5678)
    assert_equal(resumed(fit, tmp_path), unbroken_bert)


def test_early_stopping_ends_bit_equal(tmp_path):
    training = replace(
        QUICK, stage1_epochs=4, stage2_epochs=4, early_stopping_metric="P@1", patience=2
    )
    validation = frozen_points(60, seed=5)

    def fit(**options):
        return fit_frozen(training, validation=validation, **options)

    unbroken = tensors_of(fit())
    for steps in (2 * STEPS + 3, 2 * STEPS):
        interrupted(fit, tmp_path, steps)
    assert_equal(tensors_of(resumed(fit, tmp_path)), unbroken)


def test_it_goes_on_in_another_process(tmp_path, unbroken_frozen):
    # The first part is another process's, so that all this one knows of it lies on the disk.
    code, errors = ended(lambda: interrupted(fit_frozen, tmp_path, 2 * STEPS + 3))
    assert code == 0, errors
    assert_equal(tensors_of(resumed(fit_frozen, tmp_path)), unbroken_frozen)


def test_the_same_objects_go_on_too(tmp_path):
    texts, Y = text_points()
    unbroken_encoder = bow(texts)
    unbroken = tensors_of(fit_texts(unbroken_encoder, points=(texts, Y)), unbroken_encoder)
    encoder, index = bow(texts), LearnedGraphIndex(SMALL, training=QUICK)

    def fit(**options):
        return fit_texts(encoder, points=(texts, Y), index=index, **options)

    interrupted(fit, tmp_path, STEPS + 2)
    resumed(fit, tmp_path)
    assert_equal(tensors_of(index, encoder), unbroken)


def test_clustering_is_not_repeated(tmp_path, monkeypatch):
    interrupted(fit_frozen, tmp_path, 2 * STEPS + 3)

    def fail(*_, **__):
        raise AssertionError("repeated")

    monkeypatch.setattr(course, "partition_labels", fail)
    monkeypatch.setattr(course, "learnable_graph", fail)
    stages = []
    fit_frozen(checkpoint=CheckpointOptions(tmp_path), progress=lambda e: stages.append(e.stage))
    assert set(stages) == {"stage 2"}


def test_a_state_is_there_as_soon_as_the_labels_are_clustered(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(course.IndexTraining, "loss", fail)
    with pytest.raises(KeyboardInterrupt):
        fit_frozen(checkpoint=CheckpointOptions(tmp_path))
    assert len(list(tmp_path.iterdir())) == 1


def test_one_state_is_kept_and_one_is_written_each_epoch(tmp_path, monkeypatch):
    written = []
    original = checkpoint_module.CheckpointFiles.write
    monkeypatch.setattr(
        checkpoint_module.CheckpointFiles,
        "write",
        lambda self, tensors, facts: (
            written.append(int(tensors["stage.done"])),
            original(self, tensors, facts),
        ),
    )
    resumed(fit_frozen, tmp_path)
    assert written == [0, STEPS, 2 * STEPS] * 2
    assert len(list(tmp_path.iterdir())) == 1


def test_the_state_before_survives_a_failed_write(tmp_path, monkeypatch, unbroken_frozen):
    interrupted(fit_frozen, tmp_path, 4)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic, "_fsync_tree", full)
    with pytest.raises(OSError, match="No space"):
        resumed(fit_frozen, tmp_path, every_seconds=0.0)
    monkeypatch.undo()
    assert len(list(tmp_path.iterdir())) == 1
    assert_equal(tensors_of(resumed(fit_frozen, tmp_path)), unbroken_frozen)


def test_what_a_killed_process_leaves_is_swept_away(tmp_path, unbroken_frozen):
    interrupted(fit_frozen, tmp_path, 4)
    (tmp_path / ".state-2.li-0123456789abcdef.tmp").mkdir()
    (tmp_path / ".state-2.li.lock").touch()
    assert_equal(tensors_of(resumed(fit_frozen, tmp_path)), unbroken_frozen)
    assert len(list(tmp_path.iterdir())) == 1


def damage_truncate(state):
    path = state / "state.safetensors"
    path.write_bytes(path.read_bytes()[:-7])


def damage_flip(state):
    path = state / "state.safetensors"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def damage_missing(state):
    (state / "state.safetensors").unlink()


def damage_manifest(state):
    (state / "manifest.json").write_text("{")


def damage_facts(state):
    path = state / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["config"]["shapes"]
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    "damage", [damage_truncate, damage_flip, damage_missing, damage_manifest, damage_facts]
)
def test_a_damaged_state_is_refused(tmp_path, damage):
    interrupted(fit_frozen, tmp_path, 4)
    (state,) = tmp_path.iterdir()
    damage(state)
    with pytest.raises(ModelFormatError, match=r"is damaged .* remove"):
        resumed(fit_frozen, tmp_path)
    resumed(fit_frozen, tmp_path, resume=False)  # starting anew is the way out


def test_other_data_or_configuration_is_refused(tmp_path):
    interrupted(fit_frozen, tmp_path, 4)
    X, Y = frozen_points()
    other_x = X.copy()
    other_x[-1, -1] += 1e-3
    other_y = Y.copy().tolil()
    other_y[0, 39] = 1 - other_y[0, 39]
    options = {"checkpoint": CheckpointOptions(tmp_path)}
    with pytest.raises(InputError, match="the points differ"):
        fit_frozen(points=(other_x, Y), **options)
    with pytest.raises(InputError, match="the labels differ"):
        fit_frozen(points=(X, other_y.tocsr()), **options)
    with pytest.raises(InputError, match="the training configuration differ"):
        fit_frozen(replace(QUICK, learning_rate=0.011), **options)
    with pytest.raises(InputError, match="configuration of the index differ"):
        index = LearnedGraphIndex(replace(SMALL, beam_width=3), training=QUICK)
        index.fit(X, Y, **options)
    fit_frozen(**options)


def test_an_encoder_with_other_weights_is_refused(tmp_path):
    texts, Y = text_points()

    def fit(seed=0, **options):
        return fit_texts(bow(texts, init="random", seed=seed), points=(texts, Y), **options)

    interrupted(fit, tmp_path, 4)
    with pytest.raises(InputError, match="other weights of the encoder"):
        fit(seed=1, checkpoint=CheckpointOptions(tmp_path))
    with pytest.raises(InputError, match="the points differ"):
        fit_texts(
            bow(texts), points=(["blue sky", *texts[1:]], Y), checkpoint=CheckpointOptions(tmp_path)
        )
    resumed(fit, tmp_path)


def test_a_directory_with_other_things_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match=r"thesis\.tex"):
        resumed(fit_frozen, tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "precious"
    with pytest.raises(InputError, match="is a file"):
        resumed(fit_frozen, tmp_path / "thesis.tex")
    with pytest.raises(InputError, match="every_seconds"):
        CheckpointOptions(tmp_path, every_seconds=-1)


def test_resume_false_starts_anew(tmp_path):
    interrupted(fit_frozen, tmp_path, 4)
    stages = []
    fit_frozen(
        checkpoint=CheckpointOptions(tmp_path, resume=False),
        progress=lambda e: stages.append(e.stage),
    )
    assert stages[0] == "clustering"


def test_the_stop_flag_serves_as_signal_handler():
    flag = StopFlag()
    assert not flag()
    flag.set(15, None)
    assert flag()


def test_no_pickle_is_written(tmp_path):
    interrupted(fit_frozen, tmp_path, 4)
    (state,) = tmp_path.iterdir()
    assert sorted(p.name for p in state.iterdir()) == ["manifest.json", "state.safetensors"]
    manifest = json.loads((state / "manifest.json").read_text())
    assert manifest["kind"] == "training-state"
    assert np.isfinite(manifest["config"]["facts"]["edge_scale"])
