import scipy.sparse as sp

from learned_index.data import validate


def write(folder, **files):
    for name, text in files.items():
        (folder / f"{name}.txt").write_bytes(text.encode())


def test_counts_of_a_folder_made_by_hand(tmp_path):
    write(
        tmp_path,
        labels="a\tA\nb\nc\tC\nd\tD\ne\tE\n",
        train_texts="one\ntwo\none\n \nfive\n",
        train_labels="0\n0 1 1\n0 2\n1\n\n",
        test_texts="two\nnew\nnew\nlast\n",
        test_labels="0 3\n3 4\n1\n\n",
    )
    report = validate(tmp_path)
    assert (report.format, report.n_labels) == ("text", 5)
    assert (report.labels_with_text, report.labels_without_text) == (4, 1)
    assert report.ok and report.errors == []
    train, test = report.splits
    assert (train.split, train.points, train.label_assignments) == ("train", 5, 6)
    assert (train.used_labels, train.singleton_labels) == (3, 1)
    spread = train.labels_per_point
    assert (spread.min, spread.median, spread.mean, spread.max) == (0, 1, 1.2, 2)
    # Points a label, over the used ones: 1 (c), 2 (b), 3 (a).
    assert train.points_per_label_deciles == [1, 1, 1, 2, 2, 2, 2, 2, 3, 3, 3]
    assert (train.empty_points, train.unlabelled_points, train.duplicate_points) == (1, 1, 1)
    assert train.untrained_labels is None and train.overlap_with_train is None
    assert (test.points, test.used_labels, test.untrained_labels) == (4, 4, 2)
    assert test.points_with_untrained_labels == 2
    assert test.points_with_only_untrained_labels == 1
    assert (test.overlap_with_train, test.duplicate_points, test.unlabelled_points) == (1, 1, 1)
    assert report.warnings == [
        "train: 1 points have an empty text",
        "train: 1 points have no label",
        "train: 1 points repeat the text of an earlier point",
        "train: 2 labels have no training point",
        "test: 1 points have no label",
        "test: 1 points repeat the text of an earlier point",
        "test: 1 points have the text of a training point",
        "test: 2 points have labels that no training point has (2 labels)",
    ]


def test_feature_rows_are_compared_by_indices_and_values(tmp_path):
    x = sp.csr_matrix([[1.0, 0], [0, 1.0], [1.0, 0], [2.0, 0], [0, 0]])
    sp.save_npz(tmp_path / "train_X.npz", x)
    sp.save_npz(tmp_path / "train_Y.npz", sp.csr_matrix([[1.0]] * 5))
    (train,) = validate(tmp_path).splits
    assert (train.duplicate_points, train.empty_points) == (1, 1)


def test_one_bad_split_does_not_hide_the_others(tmp_path):
    write(
        tmp_path,
        labels="a\n",
        train_texts="x\n",
        train_labels="0\n",
        dev_texts="y\n",
        dev_labels="7\n",
        test_texts="z\n",
        test_labels="0\n",
    )
    report = validate(tmp_path)
    assert [part.split for part in report.splits] == ["train", "test"]
    assert len(report.errors) == 1 and "dev_labels.txt:1: label id 7" in report.errors[0]
    assert report.to_dict()["ok"] is False


def test_what_cannot_be_trained_is_an_error(tmp_path):
    write(tmp_path, labels="a\n", test_texts="x\n", test_labels="\n", dev_texts="", dev_labels="")
    assert validate(tmp_path).errors == [
        "there is no train split: nothing can be trained",
        "dev: there are no points",
        "test: no point has a label",
    ]
