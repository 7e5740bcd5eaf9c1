"""A component of spaCy that sets the categories of texts: ``nlp.add_pipe("learned_index")``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args

from learned_index.adapters.retrieval import found_labels, opened
from learned_index.elias.model import ELIAS
from learned_index.errors import InputError, NotFittedError
from learned_index.inputs.numbers import shown
from learned_index.system.extras import missing_extra

try:
    import srsly
    from spacy.language import Language
    from spacy.pipeline import Pipe
    from spacy.tokens import Doc
    from spacy.util import minibatch
except ModuleNotFoundError as error:
    raise missing_extra(error, __name__) from error

NAME = "learned_index"
"""Of the factory, which spaCy finds among the entry points ``spacy_factories``."""
_MODEL, _SETTINGS = "model", "settings.json"
Score = Literal["auto", "probability", "ranking"]


class LearnedIndexCategories(Pipe):  # type: ignore[misc]
    """The labels of a text in ``doc.cats``, by name.

    Labels that are found join the categories that a text has already; no others get a 0, as there
    may be very many. Texts of ``nlp.pipe`` are answered a batch at a time.

    Args:
        nlp: The pipeline.
        name: Of the component in it.
        model: A trained model, or the path of a saved one, which is read at the first text; None:
            it comes with :meth:`from_disk`, or is set as :attr:`model`. In a ``config`` of spaCy's
            only a path.
        k: Labels of a text at most.
        threshold: Least probability (of a model without calibration: least ranking score), or
            ``"best"``; None: all k.
        score: What a category's number is: ``"probability"``, ``"ranking"``, or ``"auto"``:
            probabilities where the model is calibrated.
        keys: Whether categories are called by the labels' ``"text"`` or ``"key"``; texts may be
            shared by labels, keys are not.
        allow: Names or keys of the only labels to find; None: all.
        deny: Names or keys of labels not to find; None: none.

    Example:
        >>> nlp.add_pipe("learned_index", config={"model": "my-model"})  # doctest: +SKIP
        >>> nlp("sort a list").cats  # doctest: +SKIP
        {'sorting': 0.97}
    """

    hide_labels = True
    """spaCy would write all into ``meta.json``, and ask for them before the model is read."""

    def __init__(
        self,
        nlp: Language,
        name: str = NAME,
        *,
        model: ELIAS | str | Path | None = None,
        k: int = 10,
        threshold: float | Literal["best"] | None = None,
        score: Score = "auto",
        keys: Literal["text", "key"] = "text",
        allow: list[str] | None = None,
        deny: list[str] | None = None,
    ) -> None:
        if score not in get_args(Score):
            raise InputError(f"score is {shown(score)}, expected one of {get_args(Score)}")
        if keys not in ("text", "key"):
            raise InputError(f"keys is {shown(keys)}, expected 'text' or 'key'")
        self.name = name
        # A path is read when it is first needed: a saved pipeline has the model in its own folder,
        # and its configuration may name one that is long gone.
        self.model = model
        self.settings: dict[str, Any] = {
            "k": k, "threshold": threshold, "score": score, "keys": keys,
            "allow": allow, "deny": deny,
        }  # fmt: skip

    @property
    def labels(self) -> tuple[str, ...]:
        """What categories may be called."""
        vocabulary = self._fitted().vocabulary
        return vocabulary.keys if self.settings["keys"] == "key" else tuple(vocabulary)

    def __call__(self, doc: Doc) -> Doc:
        """Set the categories of one text."""
        self._set([doc])
        return doc

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 128) -> Iterator[Doc]:
        """Set the categories of many texts, a batch at a time."""
        for docs in minibatch(stream, size=batch_size):
            self._set(docs)
            yield from docs

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        """Write the model and how it is asked into a folder."""
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        self._fitted().save_pretrained(folder / _MODEL, overwrite=True)
        srsly.write_json(folder / _SETTINGS, self.settings)

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> LearnedIndexCategories:
        """Read what :meth:`to_disk` wrote.

        Raises:
            ModelFormatError: The model is damaged or missing.
        """
        folder = Path(path)
        self.model = ELIAS.from_pretrained(folder / _MODEL)
        self.settings |= srsly.read_json(folder / _SETTINGS)
        return self

    def _fitted(self) -> ELIAS:
        if self.model is None:
            raise NotFittedError(
                f"the component {self.name!r} has no model; give "
                'config={"model": "its directory"}, or load a saved pipeline'
            )
        self.model = opened(self.model)
        return self.model

    def _set(self, docs: list[Doc]) -> None:
        asked = {name: self.settings[name] for name in ("k", "threshold", "allow", "deny")}
        model, score = self._fitted(), self.settings["score"]
        if score == "auto":
            score = "ranking" if model.calibrator_ is None else "probability"
        if score == "probability" and model.calibrator_ is None:
            raise InputError(
                "the model was trained without calibration; set score to 'ranking' or 'auto'"
            )
        number = "score" if score == "ranking" else score
        called = "key" if self.settings["keys"] == "key" else "label"
        found = found_labels(model, [doc.text for doc in docs], **asked)
        for doc, answers in zip(docs, found, strict=True):
            doc.cats = {**doc.cats, **{each[called]: each[number] for each in answers}}


@Language.factory(  # type: ignore[untyped-decorator]
    NAME,
    assigns=["doc.cats"],
    default_config={
        "model": None, "k": 10, "threshold": None, "score": "auto", "keys": "text",
        "allow": None, "deny": None,
    },
)  # fmt: skip
def make(
    nlp: Language,
    name: str,
    model: Any,
    k: int,
    threshold: Any,
    score: str,
    keys: str,
    allow: list[str] | None,
    deny: list[str] | None,
) -> LearnedIndexCategories:
    """Make the component of its configuration; see :class:`LearnedIndexCategories`."""
    return LearnedIndexCategories(
        nlp, name, model=model, k=k, threshold=threshold,
        score=score, keys=keys, allow=allow, deny=deny,  # type: ignore[arg-type]
    )  # fmt: skip
