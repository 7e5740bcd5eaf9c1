"""Names of code read as words: those, and no other names."""

from __future__ import annotations

import pytest

from learned_index.data.identifiers import readable, words_of_name


def test_names_are_taken_apart_into_words() -> None:
    """A fault of these words is silent: labels would be described by other names."""
    words = {
        "sklearn.cluster.MiniBatchKMeans": "sklearn cluster mini batch k means",
        "scipy.stats.ks_2samp": "scipy stats ks 2 samp",
        "PIL.Image": "pil image",
        "http.HTTPStatus": "http http status",
    }
    assert {name: words_of_name(name) for name in words} == words


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("scipy.signal.savgol_filter", "scipy signal savgol filter savgol_filter"),
        ("sklearn.cluster.KMeans", "sklearn cluster k means KMeans"),
        ("machine_learning", "machine learning machine_learning"),
        ("csv.reader", "csv reader"),
    ],
)
def test_names_of_code_are_words_and_their_compounds(name: str, expected: str) -> None:
    assert readable(name) == expected


@pytest.mark.parametrize(
    "name",
    [
        "Machine learning",
        "LaTeX",
        "e.V.",
        "U.S.",
        "E-Learning",
        "a sentence. Another_one",
        "4006617-6",
        "http://example.org/a_b",
        "label_3",
        "GND.4711",
        "Größe.Maß",
        "_private",
        "",
    ],
)
def test_other_names_stay_as_they_are(name: str) -> None:
    assert readable(name) == name
