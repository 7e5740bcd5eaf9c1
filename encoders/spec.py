"""Encoders by what one writes after ``--encoder``."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from learned_index.encoders.base import ENCODER_FILE, EncoderBase
from learned_index.encoders.concatenated import ConcatenatedEncoder
from learned_index.encoders.hub import model_format, resolve_model
from learned_index.encoders.neural import AnyPrecision
from learned_index.encoders.precomputed import PrecomputedEncoder, is_vector_spec
from learned_index.encoders.storage import encoder_class, load_encoder
from learned_index.errors import InputError

CHOICES = (
    "tfidf, lsa or lsa:DIM, bow or bow:DIM, minilm or minilm:TOKENS (texts are cut there), the "
    "name or folder of a sentence-transformers or transformers model (st:NAME or hf:NAME to say "
    "which), a file or folder of vectors "
    "(.npy, .npz, .safetensors; {split} stands for train, dev, test), the folder of a saved "
    "encoder, or several joined by +, "
    "e.g. lsa+minilm"
)
"""The grammar in words, for help texts and errors."""

_LEXICAL = ("tfidf", "lsa", "bow")
Builder = tuple[Callable[..., EncoderBase], dict[str, Any]]


def parse_encoder(
    spec: str,
    *,
    seed: int | None = None,
    precision: AnyPrecision | None = None,
    **options: Any,
) -> EncoderBase:
    """Make an encoder from its short description.

    Args:
        spec: One of the :data:`CHOICES`.
        seed: Seed of the parts that draw random numbers; the others ignore it.
        precision: Of the parts that are neural networks; the others ignore it.
        **options: Parameters of the encoder's class (``dim``, ``max_length``, ``batch_size``,
            ``device`` …). With joined encoders each part takes those that it has;
            ``weights`` belongs to the whole.

    Returns:
        The encoder, not fitted.

    Raises:
        InputError: An unknown description, or an option that no part has.
        MissingExtraError: ``minilm`` is not installed.

    Example:
        >>> parse_encoder("lsa:64", seed=1).dim
        64
    """
    check_length(spec)
    general = {"seed": seed, "precision": precision}
    parts = _split(spec.strip())
    if len(parts) == 1:
        make, fixed = _builder(parts[0], spec)
        _refuse_unknown(set(options) - _parameters(make), spec)
        return make(**{**_chosen(make, options, general), **fixed})
    weights = options.pop("weights", None)
    builders = [_builder(part, spec) for part in parts]  # all, before a model is loaded
    _refuse_unknown(set(options).difference(*(_parameters(make) for make, _ in builders)), spec)
    encoders = [make(**{**_chosen(make, options, general), **fixed}) for make, fixed in builders]
    return ConcatenatedEncoder(encoders, weights=weights)


def _split(spec: str) -> list[str]:
    """Split at ``+``, except where the whole is an existing path that has one in its name."""
    if "+" not in spec or Path(spec.removeprefix("st:").removeprefix("hf:")).expanduser().exists():
        return [spec]
    return [part.strip() for part in spec.split("+")]


def _parameters(make: Callable[..., EncoderBase]) -> set[str]:
    return set(inspect.signature(make).parameters)


def _refuse_unknown(names: set[str], spec: str) -> None:
    if names:
        raise InputError(
            f"the encoder {spec!r} has no option {', '.join(sorted(names))}; see the parameters "
            "of its class"
        )


def _chosen(
    make: Callable[..., EncoderBase], options: dict[str, Any], general: dict[str, Any]
) -> dict[str, Any]:
    """Return the options that a class has."""
    given = {**{name: value for name, value in general.items() if value is not None}, **options}
    return {name: given[name] for name in given if name in _parameters(make)}


def _unknown(part: str, spec: str) -> InputError:
    within = f" in {spec!r}" if part != spec else ""
    close = difflib.get_close_matches(part, [*_LEXICAL, "minilm"], n=1, cutoff=0.7)
    guess = f" Did you mean {close[0]!r}?" if close else ""
    return InputError(f"unknown encoder {part!r}{within}.{guess} Expected {CHOICES}")


def check_length(spec: str) -> None:
    """Refuse a description that no file system takes for a name.

    Raises:
        InputError: More than 4000 bytes, or a part between slashes of more than 255.
    """
    raw = spec.encode("utf-8", "surrogatepass")
    if len(raw) > 4000 or max(map(len, raw.split(b"/"))) > 255:
        raise InputError(f"encoder {spec[:40]!r}... is too long for a name. Expected {CHOICES}")


def number_after_colon(argument: str) -> int | None:
    """Return the number in a description such as ``lsa:512``; None where it is none above 0."""
    written = argument.isascii() and argument.isdigit() and len(argument) < 10
    return int(argument) or None if written else None


def _builder(part: str, spec: str) -> Builder:
    """Return the class for one part and the arguments that the description fixes."""
    name, colon, argument = part.partition(":")
    if name in _LEXICAL:
        if not colon:
            return encoder_class(name), {}
        dim = number_after_colon(argument)
        if name == "tfidf" or dim is None:
            raise InputError(
                f"encoder {part!r}: expected a dimension after the colon, such as lsa:512"
                if name != "tfidf"
                else f"encoder {part!r}: tfidf takes no dimension; write tfidf"
            )
        return encoder_class(name), {"dim": dim}
    if name == "minilm":
        if not colon:
            return encoder_class("sentence-transformer"), {"model": "minilm"}
        length = number_after_colon(argument)
        if length is None:
            raise InputError(
                f"encoder {part!r}: expected a number of tokens after the colon, such as minilm:128"
            )
        fixed = {"model": "minilm", "max_length": length}
        return encoder_class("sentence-transformer"), fixed
    if name in ("st", "hf") and argument:
        kind = "sentence-transformer" if name == "st" else "transformer"
        return encoder_class(kind), {"model": argument}
    path = Path(part).expanduser()
    if not part or part == "+":
        raise _unknown(part, spec)
    if is_vector_spec(part):
        return PrecomputedEncoder, {"path": part}
    if (path / ENCODER_FILE).is_file():
        loaded = load_encoder(path)
        return lambda: loaded, {}
    if path.is_dir():
        folder_kind = model_format(path)
        if folder_kind is None:
            raise InputError(
                f"the folder {part} holds neither a model (modules.json, config.json) nor vectors "
                "(train.npy, test.npy). Expected " + CHOICES
            )
        return encoder_class(folder_kind), {"model": part}
    if path.is_file():
        raise InputError(f"the file {part} is no file of vectors. Expected {CHOICES}")
    close = difflib.get_close_matches(part, [*_LEXICAL, "minilm"], n=1, cutoff=0.7)
    if close or "+" in part or any(character.isspace() for character in part):
        raise _unknown(part, spec)
    try:
        folder = resolve_model(part)
    except InputError as error:
        raise InputError(f"unknown encoder {part!r}: {error}. Expected {CHOICES}") from error
    return encoder_class(model_format(folder) or "transformer"), {"model": part}
