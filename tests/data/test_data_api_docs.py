import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from learned_index.data import build_api_docs, validate
from learned_index.data.api_docs.build import hide_name
from learned_index.data.api_docs.docstrings import parse_docstring
from learned_index.data.api_docs.objects import PACKAGES, ApiObject, collect_objects
from learned_index.data.api_docs.sentences import clean_markup, split_sentences
from learned_index.errors import InputError
from learned_index.system.cache import cache_directory

SMALL = ["click", "threadpoolctl"]

NUMPYDOC = """
    eigh(a, UPLO='L')

    Return the eigenvalues of a *symmetric* matrix.

    The algorithm of ``LAPACK`` is used, e.g. `_syevd` for real input [1]_. It is
    stable :math:`x` and quick.

    .. versionadded:: 1.8
       This sentence belongs to the note about a version.

    Parameters
    ----------
    a : array
        This parameter must not be a sentence.

    Returns
    -------
    w : array
        Nor must this description of a result.

    See Also
    --------
    eigvals : Eigenvalues of a general matrix.
    scipy.linalg.eig, svd
    :func:`~numpy.linalg.norm`

    Notes
    -----
    The eigenvalues come in ascending order.

    .. math:: A = Q \\Lambda Q^T

    For example::

        this block of code is dropped

    >>> eigh([[1]])
    array([1.])

    - Every item of a list stands by itself.

    Examples
    --------
    An example is not a description of the function.
"""

GOOGLE = """
add(input, other, *, alpha=1,
    out=None) -> Tensor

Adds :attr:`other`, scaled by :attr:`alpha`, to the input tensor.

Args:
    input (Tensor): the tensor that must not appear here.

Note:
    The shapes of the two tensors must be broadcastable.

Example::

    >>> torch.add(a, 20)
"""


def test_numpydoc():
    parsed = parse_docstring(NUMPYDOC)
    assert parsed.sentences == [
        "Return the eigenvalues of a symmetric matrix",
        "The algorithm of LAPACK is used, e.g. _syevd for real input",
        "It is stable x and quick",
        "The eigenvalues come in ascending order",
        "Every item of a list stands by itself",
    ]
    assert parsed.parameters == ["This parameter must not be a sentence"]
    assert parsed.see_also == ["eigvals", "scipy.linalg.eig", "svd", "numpy.linalg.norm"]


def test_google_style_and_signatures_over_several_lines():
    assert parse_docstring(GOOGLE).sentences == [
        "Adds other, scaled by alpha, to the input tensor",
        "The shapes of the two tensors must be broadcastable",
    ]


NUMPYDOC_PARAMETERS = """
    Smooth an array.

    Parameters
    ----------
    x : array_like, shape (n, m)
        The data to be filtered. If it is
        no array, it is made one.

        Its second paragraph is left out.
    order : int
        the order of the *polynomial* that is used to
        fit the samples
    axis
        int.

    Other Parameters
    ----------------
    mode : {'mirror', 'nearest'}
        What is done at the edges of the signal.

    Returns
    -------
    y : array
        The smoothed data are no parameter.
"""

GOOGLE_PARAMETERS = """Run a layer.

Args:
    input (Tensor, optional): the features of
        each of the points. More of them.
    *rest: x

Returns:
    The result is no parameter.
"""

FIELDS = """Print a line.

:param message: the string that is written
    to the stream
:param file: x
:return: nothing that is a parameter
"""


@pytest.mark.parametrize(
    ("doc", "expected"),
    [
        (
            NUMPYDOC_PARAMETERS,
            [
                "The data to be filtered",
                "The order of the polynomial that is used to fit the samples",
                "What is done at the edges of the signal",
            ],
        ),
        (GOOGLE_PARAMETERS, ["The features of each of the points"]),
        (FIELDS, ["The string that is written to the stream"]),
        ("No list of parameters here.", []),
    ],
)
def test_the_first_sentence_about_each_parameter(doc, expected):
    parsed = parse_docstring(doc)
    assert parsed.parameters == expected
    assert not set(parsed.sentences) & set(expected)


@pytest.mark.parametrize(
    "doc",
    [
        "",
        "sort(a, axis=-1)",
        "See the user guide for all of it.",
        "Deprecated in the next version of the package.",
        "+----+\n| a table of things |\n+----+",
        "x = y * z + f(x)[1] - g(y)",
        ":param x: This is the description of a parameter.",
        "More at https://example.org/a-page about it.",
        "Let x be such that",
    ],
)
def test_what_says_nothing_is_dropped(doc):
    assert parse_docstring(doc).sentences == []


@pytest.mark.parametrize(
    ("markup", "plain"),
    [
        (":func:`~numpy.linalg.eigh` and :class:`a.B`", "eigh and a.B"),
        ("the ``dtype`` of `array <https://x.y>`_", "the dtype of array"),
        ("**bold** and *emphasis* but 2*3*4", "bold and emphasis but 2*3*4"),
        ("`~scipy.odr.odr` or `.Artist.set`", "odr or Artist.set"),
        ("as shown [1]_ by [Smith2001]_", "as shown by"),
    ],
)
def test_markup(markup, plain):
    assert clean_markup(markup) == plain


def test_sentences_end_at_full_stops_but_not_at_abbreviations():
    text = (
        "The root of x. Use a list, e.g. Python's. It has I.D. Numbers etc. The end! "
        "3.5 is no end. get_it may begin."
    )
    assert split_sentences(text) == [
        "The root of x.",
        "Use a list, e.g. Python's.",
        "It has I.D. Numbers etc.",
        "The end!",
        "3.5 is no end.",
        "get_it may begin.",
    ]


def test_the_name_does_not_give_the_answer_away():
    english = frozenset({"sort"})

    def hide(sentence, name):
        return hide_name(sentence, ApiObject(name, "function", "", None, "m"), english)

    assert hide("Eigh returns two arrays", "m.eigh") == "This function returns two arrays"
    assert hide("With the eigh function one", "m.eigh") == "With this function one"
    assert hide("Call np.linalg.eigh() or eighx", "m.eigh") == "Call this function or eighx"
    assert hide("It ends. eigh begins", "m.eigh") == "It ends. This function begins"
    assert hide("Sort the list", "m.sort") == "Sort the list"
    assert hide("Unlike m.sort this", "m.sort") == "Unlike this function this"
    assert hide("The train_test_split does", "m.train_test_split") == "This function does"


def test_two_builds_give_identical_bytes(tmp_path):
    first = build_api_docs(tmp_path / "a", packages=SMALL)
    # Another process with other string hashes, and with other modules loaded.
    code = (
        "import sys, sympy; from learned_index.data import build_api_docs; "
        f"build_api_docs(sys.argv[1], packages={SMALL!r})"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "b")],
        check=True,
        env=os.environ | {"PYTHONHASHSEED": "77"},
    )
    names = sorted(path.name for path in first.path.iterdir())
    assert "source.json" in names and "stats.json" in names and "dev_texts.txt" in names
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_the_small_set_is_sound(tmp_path):
    folder = build_api_docs(tmp_path / "a", packages=SMALL)
    report = validate(folder.path)
    assert report.ok and report.warnings == []
    train = folder.read("train")
    row = next(i for i, t in enumerate(train.texts) if t.startswith("Print a message and newline"))
    assert train.label_names(row) == ["click.echo"]  # the object alone, without its module
    label = train.vocabulary.id("click.echo")
    description = train.vocabulary.descriptions[label]
    assert description.startswith("click echo. The string or bytes to output. ")
    # What is held out is nobody's description.
    held_out = {text for split in ("dev", "test") for text in folder.read(split).texts}
    told = [set(more.split(". ")) for more in train.vocabulary.descriptions]
    assert not any(held_out & sentences for sentences in told)
    method = next(i for i in range(len(train)) if "click.Context.invoke" in train.label_names(i))
    names = set(train.label_names(method))
    assert "click.Context" in names and "click" not in names
    assert not any(text.lower().startswith(("echo(", ":param")) for text in train.texts)
    source = json.loads((folder.path / "source.json").read_text())
    assert set(source["packages"]) == set(SMALL)
    stats = json.loads((folder.path / "stats.json").read_text())
    assert stats["splits"]["train"]["points"] == len(train)
    assert stats["labels"] == train.n_labels


def test_cache_is_used_and_its_place_can_be_chosen(tmp_path, monkeypatch):
    monkeypatch.setenv("LEARNED_INDEX_CACHE", str(tmp_path / "env"))
    folder = build_api_docs(packages=["threadpoolctl"])
    assert folder.path.parent == tmp_path / "env"
    before = (folder.path / "train_texts.txt").stat().st_mtime_ns
    assert build_api_docs(packages=["threadpoolctl"]).path == folder.path
    assert (folder.path / "train_texts.txt").stat().st_mtime_ns == before
    build_api_docs(packages=["threadpoolctl"], force=True)
    assert (folder.path / "train_texts.txt").stat().st_mtime_ns != before
    other = build_api_docs(packages=["threadpoolctl"], cache=tmp_path / "other")
    assert other.path.parent == tmp_path / "other"
    monkeypatch.delenv("LEARNED_INDEX_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    if sys.platform == "linux":
        assert cache_directory() == tmp_path / "xdg" / "learned-index"


@pytest.mark.parametrize("word", ["off", "OFF", " off ", "0", "none", "no", "false"])
def test_no_cache_means_no_folder_of_that_name(word, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LEARNED_INDEX_CACHE", word)
    assert cache_directory() is None and cache_directory("here") == Path("here")
    with pytest.raises(InputError, match=r"the cache is off.*--out DIR"):
        build_api_docs(packages=["threadpoolctl"])
    assert list(tmp_path.iterdir()) == []
    assert build_api_docs("named", packages=["threadpoolctl"]).path == Path("named")
    monkeypatch.setenv("LEARNED_INDEX_CACHE", "somewhere")
    assert cache_directory() == Path("somewhere") and cache_directory(word) is None


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "mine.txt").write_text("precious")
    with pytest.raises(InputError, match="exists and is not empty"):
        build_api_docs(tmp_path / "a", packages=["threadpoolctl"])
    assert (tmp_path / "a" / "mine.txt").read_text() == "precious"
    build_api_docs(tmp_path / "b", packages=["threadpoolctl"])
    with pytest.raises(InputError, match="built from other package versions"):
        build_api_docs(tmp_path / "b", packages=["click"])
    with pytest.raises(InputError, match="unknown packages"):
        build_api_docs(tmp_path / "c", packages=["antigravity"])


def test_walking_is_silent_and_changes_no_setting(capfd):
    filters, environment = list(warnings.filters), dict(os.environ)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        objects = collect_objects(["numpy"])
    assert capfd.readouterr() == ("", "") and caught == []
    assert warnings.filters == filters and dict(os.environ) == environment
    by_name = {item.name: item for item in objects}
    assert by_name["numpy.linalg.eigh"].module == "numpy.linalg"
    assert by_name["numpy.sin"].kind == "function"  # a compiled ufunc
    assert by_name["numpy.ndarray.sum"].owner == "numpy.ndarray"
    # An alias is no second object.
    assert "numpy.absolute" in by_name and "numpy.abs" not in by_name
    assert "numpy.abs" in by_name["numpy.absolute"].names
    assert len(by_name) == len(objects)


def test_no_listed_module_surprises():
    listed = {name for names in PACKAGES.values() for name in names.split()}
    assert not listed & {"antigravity", "this", "turtle", "tkinter", "idlelib"}


@pytest.mark.slow
def test_the_default_data_set(tmp_path):
    folder = build_api_docs(tmp_path / "a")
    report = validate(folder.path)
    assert report.ok and report.warnings == []
    splits = {split: folder.read(split) for split in folder.splits}
    assert sum(map(len, splits.values())) >= 20_000
    assert splits["train"].n_labels >= 5_000
    assert len(splits["test"]) >= 1_000 and len(splits["dev"]) >= 500
    assert (splits["train"].labels.getnnz(axis=0) > 0).all()
    names = splits["train"].vocabulary
    for key in ("numpy.linalg.eigh", "sklearn.model_selection.train_test_split", "scipy.fft.rfft"):
        assert key in names
    eigh = names.id("scipy.linalg.eigh")
    rows = np.flatnonzero(splits["train"].labels[:, eigh].toarray()[:, 0])
    assert any("eigenvalue" in splits["train"].texts[row] for row in rows)
