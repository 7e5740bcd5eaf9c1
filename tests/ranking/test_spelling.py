"""Words that are spelled alike: n-grams by hashing against sets of strings, pair by pair."""

from __future__ import annotations

import math
import re
import unicodedata

import numpy as np
import pytest
import scipy.sparse as sp

from learned_index.ranking import spelling
from learned_index.ranking.evidence import NameTerms, with_other_names
from learned_index.ranking.name_search import alike_lists, search_names, with_likeness
from learned_index.ranking.spelling import LEAST_ALIKE, Spelling, folded, grams_of, likeness

NAMES = [
    "Vögel", "Vogelschutz", "Öffentliche Verwaltung", "Unternehmensführung", "", "Straße",
    "Psychoanalyse", "Klima (Motiv)", "Klima Klima", "ab", "C", "Führung von Unternehmen",
    "\U0001f426 Emoji", "鳥", "verwaltungsrecht",
    "Route 66",
]  # fmt: skip
TERMS = [
    "vogel", "vögel", "vogelschutzes", "bird", "unternehmen", "führung", "verwaltung",
    "psychoanalysis", "klima", "klimawandel", "strasse", "c", "ab", "abc", "鳥", "emoji",
    "climate change", "klima\nx", "zzz", "psycho", "66", "route",
]  # fmt: skip
L, V = len(NAMES), len(TERMS)


def plain_fold(text: str) -> str:
    parts = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in parts if unicodedata.combining(c) == 0)


def grams(word: str) -> set[tuple[int, str]]:
    edged = f"<{word}>"
    each = {(n, edged[i : i + n]) for n in (3, 4, 5) for i in range(len(edged) - n + 1)}
    return each | {(0, word)}


def plain_likeness(words: list[str], others: list[str]) -> np.ndarray:
    """Cosines from the definition; how common an n-gram is tell all others."""
    sets = [grams(word) for word in others]
    known = set().union(*sets)
    counts = {gram: sum(gram in each for each in sets) for gram in known}
    n = len(others)
    idf = {gram: math.log(1 + (n - c + 0.5) / (c + 0.5)) for gram, c in counts.items()}
    largest = max(idf.values())

    def length(each: set[tuple[int, str]]) -> float:
        return math.sqrt(sum(idf.get(gram, largest) ** 2 for gram in each))

    found = np.zeros((len(words), n))
    for row, word in enumerate(words):
        own = grams(word)
        for column, other in enumerate(sets):
            both = sum(idf[gram] ** 2 for gram in own & other)
            found[row, column] = both / (length(own) * length(other))
    return np.where(found >= LEAST_ALIKE, found, 0)


def plain_names() -> np.ndarray:
    """Equation (24), L x V."""
    found_in = [set(re.findall(r"\w+", plain_fold(name))) for name in NAMES]
    words_of = [{word for word in words if not word.isdigit()} for words in found_in]
    distinct = sorted(set().union(*words_of))
    alike = plain_likeness([plain_fold(term) for term in TERMS], distinct)
    n_named = sum(bool(words) for words in words_of)
    weights = np.zeros((L, V))
    for label, words in enumerate(words_of):
        counts = {word: sum(word in other for other in words_of) for word in words}
        idf = {w: math.log(1 + (n_named - n + 0.5) / (n + 0.5)) for w, n in counts.items()}
        for column, term in enumerate(TERMS):
            if " " not in term and "\n" not in term:
                found = [idf[w] * alike[column, distinct.index(w)] for w in words]
                weights[label, column] = sum(found) / max(sum(idf.values()), 1e-12)
    return weights


def dense(names: NameTerms) -> np.ndarray:
    shape = len(names.indptr) - 1, V
    return sp.csr_matrix((names.weights, names.terms, names.indptr), shape=shape).toarray()


@pytest.fixture(scope="module")
def alike() -> NameTerms:
    return Spelling(TERMS).names(NAMES)


def test_likeness_is_the_cosine_of_n_grams(monkeypatch: pytest.MonkeyPatch) -> None:
    words = [plain_fold(term) for term in TERMS]
    others = sorted({word for name in NAMES for word in re.findall(r"\w+", plain_fold(name))})
    monkeypatch.setattr(spelling, "_BLOCK", 3)
    found = likeness(grams_of(words), others, np.arange(len(others)))
    np.testing.assert_allclose(found.toarray(), plain_likeness(words, others), atol=1e-5)
    some = np.array([1, 4])
    np.testing.assert_array_equal(
        likeness(grams_of(words), others, some).toarray(), found.toarray()[:, some]
    )


def test_n_grams_of_most_words_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spelling, "_FEW", 0)
    monkeypatch.setattr(spelling, "_MOST_COMMON", 0.5)
    others = ["abxyz", "abuvw", "abrst", "qqqqq"]
    found = likeness(grams_of(["abxyz", "abklm"]), others, np.arange(4)).toarray()
    # "<ab" is in three of four: words that share only this are not alike.
    assert found[0, 0] > 0.9 and not found[1].any()


def test_terms_of_names_are_those_of_the_definition(alike: NameTerms) -> None:
    np.testing.assert_allclose(dense(alike), plain_names(), atol=1e-5)
    by_name = dict(zip(NAMES, dense(alike), strict=True))
    assert by_name["Vögel"][TERMS.index("vögel")] == pytest.approx(1, abs=1e-5)
    assert by_name["Vogelschutz"][TERMS.index("vogel")] > LEAST_ALIKE
    assert by_name["Unternehmensführung"][TERMS.index("führung")] > LEAST_ALIKE
    assert by_name["Psychoanalyse"][TERMS.index("psychoanalysis")] > 0.5
    assert by_name["Straße"][TERMS.index("strasse")] == pytest.approx(1, abs=1e-5)
    assert not by_name[""].any() and not dense(alike)[:, TERMS.index("climate change")].any()
    for label in range(L):
        assert (np.diff(alike.terms[alike.indptr[label] : alike.indptr[label + 1]]) > 0).all()


def test_some_labels_alone_have_the_same_terms(alike: NameTerms) -> None:
    some = [2, 8]
    alone, whole = dense(Spelling(TERMS).names(NAMES, some)), dense(alike)
    np.testing.assert_allclose(alone[some], whole[some], atol=1e-6)
    assert not np.delete(alone, some, axis=0).any()


def test_names_that_change_are_compared_as_if_for_the_first_time(alike: NameTerms) -> None:
    spelling = Spelling(TERMS)
    spelling.names(NAMES)
    other = [*NAMES[:3], "Klimawandel", *NAMES[4:-1], "Vogelschutz"]
    np.testing.assert_array_equal(dense(spelling.names(other)), dense(Spelling(TERMS).names(other)))
    np.testing.assert_array_equal(dense(spelling.names(NAMES)), dense(alike))


def test_nothing_is_alike_where_there_is_nothing() -> None:
    for terms, names in ((TERMS, []), ([], NAMES), (TERMS, ["", "?"]), (["a b"], NAMES)):
        found = Spelling(terms).names(names)
        assert len(found.indptr) == len(names) + 1 and not len(found.terms)
    assert not len(Spelling(TERMS).names(NAMES, []).terms)


def test_labels_are_found_and_scored_by_the_weights_of_the_text(alike: NameTerms) -> None:
    rng = np.random.default_rng(0)
    texts = sp.random(20, V, 0.3, "csr", np.float32, rng)
    texts.sort_indices()
    exact = texts.toarray().astype(float) @ dense(alike).T
    ids = np.stack([rng.permutation(L)[:4] for _ in range(20)])
    ids[::3, -1] = -1
    added, scores = search_names(alike_lists(alike, V), texts, ids, n_labels=L, n_added=5)
    expected = np.where(ids >= 0, np.take_along_axis(exact, ids, 1), 0)
    np.testing.assert_allclose(scores[:, :4], expected, rtol=1e-5, atol=1e-7)
    expected = np.where(added >= 0, np.take_along_axis(exact, added, 1), 0)
    np.testing.assert_allclose(scores[:, 4:], expected, rtol=1e-5, atol=1e-7)
    for row in range(20):
        others = np.setdiff1d(np.arange(L), ids[row])
        wanted = np.sort(exact[row, others])[::-1][:5]
        wanted = wanted[wanted > 0]
        assert (added[row, len(wanted) :] == -1).all()
        np.testing.assert_allclose(exact[row, added[row, : len(wanted)]], wanted, rtol=1e-5)


def test_labels_that_join_are_scored_as_those_on_the_list(alike: NameTerms) -> None:
    rng = np.random.default_rng(1)
    texts = sp.random(20, V, 0.4, "csr", np.float32, rng)
    texts.sort_indices()
    ids = np.stack([rng.permutation(L)[:6] for _ in range(20)])
    ids[::3, 4] = -1
    _, scores = search_names(alike_lists(alike, V), texts, ids, n_labels=L, n_added=0)
    assert scores.any() and scores[:, 3:].any()
    for first in (0, 3, 6):
        again = with_likeness(alike, texts, ids, scores[:, :first])
        np.testing.assert_array_equal(again, scores)


def test_terms_that_count_nothing_find_nothing(alike: NameTerms) -> None:
    texts = sp.csr_matrix(np.full((1, V), -1, np.float32))
    ids = np.array([[0, 1]])
    added, scores = search_names(alike_lists(alike, V), texts, ids, n_labels=L, n_added=5)
    assert (added == -1).all() and not scores.any()


def test_other_names_take_the_place_of_some(alike: NameTerms) -> None:
    more = Spelling(TERMS).names([*NAMES[:3], "Klimawandel", *NAMES[4:], "Bird", ""])
    joined = dense(with_other_names(alike, more, [3]))
    assert joined.shape == (L + 2, V)
    changed = [3, L, L + 1]
    np.testing.assert_array_equal(joined[changed], dense(more)[changed])
    kept = np.setdiff1d(np.arange(L), changed)
    np.testing.assert_array_equal(joined[kept], dense(alike)[kept])


def test_case_and_marks_of_letters_do_not_count() -> None:
    assert folded("ÉCOLE Führung ΑΣ") == folded("ecole fuhrung ας")
