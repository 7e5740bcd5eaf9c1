"""Requests and answers, as the OpenAPI description tells them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from learned_index.data.formats.lines import has_half_pair

_LONGEST_NAME = 10_000
_MOST_NAMES = 10_000


def _characters(name: str) -> str:
    if has_half_pair(name):
        raise ValueError("it holds half a surrogate pair, which is no character")
    return name


Name = Annotated[str, Field(min_length=1, max_length=_LONGEST_NAME), AfterValidator(_characters)]
Names = Annotated[list[Name], Field(max_length=_MOST_NAMES)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
ScoreName = Literal["ranking", "probability", "index"]
ModelName = Annotated[
    str | None, Field(description="Name of a model; the first one's where there is none.")
]
TEXT = "green tea leaves"


class _Asked(BaseModel):
    """A request: no other fields than these, and no conversion of their types."""

    model_config = ConfigDict(extra="forbid", strict=True)
    model: ModelName = None


class _Timed(_Asked):
    deadline_ms: Annotated[
        int | None,
        Field(ge=1, le=3_600_000, description="Give up after so long, if the server does not."),
    ] = None


class SearchRequest(_Timed):
    """Texts, or vectors, and how to search."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"texts": [TEXT], "k": 5},
                {"texts": [TEXT, "oolong"], "k": 3, "score": "probability", "threshold": 0.1},
                {"texts": [TEXT], "deny": ["sold out"], "explain": True},
            ]
        }
    )
    texts: Annotated[
        list[str] | None,
        Field(description="One at least. A blank one has no answer, nor one of unknown words."),
    ] = None
    vectors: Annotated[
        list[list[Number]] | None,
        Field(description="In the place of texts: vectors of the model's encoder, D numbers each."),
    ] = None
    k: Annotated[Count, Field(description="Labels wanted of each text.")] = 10
    score: Annotated[
        ScoreName,
        Field(description="The ranking score; its calibrated probability; the index alone."),
    ] = "ranking"
    threshold: Annotated[
        Annotated[float, Field(ge=0, le=1)] | Literal["best"] | None,
        Field(
            description="Least score, of the kind that is asked for; best: the calibrated "
            "probability that is best for the label."
        ),
    ] = None
    allow: Annotated[
        Names | None, Field(description="The only labels to find, by key or name.")
    ] = None
    deny: Annotated[Names | None, Field(description="Labels not to find, by key or name.")] = None
    beam_width: Annotated[Count | None, Field(description="Clusters explored.")] = None
    shortlist_size: Annotated[Count | None, Field(description="Labels scored.")] = None
    explain: Annotated[bool, Field(description="Tell why, for each label.")] = False


class ScoreRequest(_Timed):
    """Texts, and labels to score for each of them."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"texts": [TEXT], "labels": ["tea", "plants"]}]}
    )
    texts: list[str]
    labels: Annotated[
        list[Name], Field(min_length=1, max_length=_MOST_NAMES, description="Keys or names.")
    ]
    score: ScoreName = "ranking"


class NewLabel(BaseModel):
    """A label that joins."""

    model_config = ConfigDict(extra="forbid", strict=True)
    key: Name
    name: Name | None = None
    examples: Annotated[
        list[str],
        Field(description="Texts that have it; none: it is learned from its name."),
    ] = []


class AddRequest(_Asked):
    """Labels that join a model."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"labels": [{"key": "tea", "name": "Tea and infusions", "examples": [TEXT]}]}
            ]
        }
    )
    labels: Annotated[list[NewLabel], Field(min_length=1, max_length=1000)]


class RemoveRequest(_Asked):
    """Labels that shall never be answered."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"labels": ["sold out"]}]})
    labels: Annotated[list[Name], Field(min_length=1, max_length=_MOST_NAMES)]


class RenameRequest(_Asked):
    """New names by key or old name."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"names": {"mobile phones": "smartphones"}}]}
    )
    names: Annotated[dict[Name, Name], Field(min_length=1, max_length=_MOST_NAMES)]


class MergeRequest(_Asked):
    """Labels that go, and what each becomes."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"targets": {"cell phones": "mobile phones"}}]}
    )
    targets: Annotated[dict[Name, Name], Field(min_length=1, max_length=_MOST_NAMES)]


class LearnRequest(_Asked):
    """A correction: a text and all its right labels."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"text": TEXT, "labels": ["tea", "plants"]}]}
    )
    text: str
    labels: Annotated[list[Name], Field(min_length=1, max_length=1000)]
    new: Annotated[
        bool, Field(description="Names that no label has become new labels, and are no error.")
    ] = False


class Found(BaseModel):
    """A label that was found."""

    label: str
    key: str
    score: float
    why: Annotated[dict[str, Any] | None, Field(description="With explain: see docs/cli.md.")] = (
        None
    )


class SearchAnswer(BaseModel):
    """For each text or vector its labels, best first."""

    model: str
    version: Annotated[str, Field(description="Of the model that answered.")]
    answers: list[list[Found]]


class ScoreAnswer(BaseModel):
    """For each text the scores of the labels, in their order; null: the text has no answer."""

    model: str
    version: str
    scores: list[list[float | None]]


class Label(BaseModel):
    """A label as it is listed."""

    key: str
    name: str
    training_points: int | None


class LabelList(BaseModel):
    """A part of a model's labels."""

    model: str
    version: str
    total: Annotated[int, Field(description="Labels that fit the question, in all.")]
    labels: list[Label]


class ChangeAnswer(BaseModel):
    """A change that is saved."""

    model: str
    version: Annotated[str, Field(description="Of the model that has the change.")]
    everywhere: Annotated[
        bool,
        Field(description="Whether every worker answers by it; else it will within seconds."),
    ]


class Card(BaseModel):
    """What a model is."""

    name: str
    version: str
    loaded: Annotated[str, Field(description="Time, UTC.")]
    n_labels: int
    n_training_points: int
    encoder: str
    dim: int
    n_models: int
    is_compiled: bool
    is_calibrated: bool
    can_learn: bool
    can_add_labels: bool
    validation: Annotated[
        dict[str, Any] | None, Field(description="Figures of its training, in percent.")
    ]


class CardList(BaseModel):
    """All models; the first is asked where none is named."""

    models: list[Card]


class Suggestion(BaseModel):
    """A label, as Annif's protocol tells it."""

    uri: str
    label: str
    notation: str | None
    score: float


class Suggestions(BaseModel):
    """The labels of a text, best first."""

    results: list[Suggestion]


class Project(BaseModel):
    """A model, as Annif's protocol tells it."""

    project_id: str
    name: str
    language: str
    backend: dict[str, str]
    is_trained: bool
    modification_time: str


class ProjectList(BaseModel):
    """All models, as Annif's protocol tells them."""

    projects: list[Project]


class Status(BaseModel):
    """Whether the server is well."""

    status: str


class Problem(BaseModel):
    """Why a request was not answered: what was got, what was expected, how to mend it."""

    detail: str
