"""Names of the methods, and the text in which a user asks for them.

A list is separated by commas. Build arguments follow a colon or stand in parentheses: a FAISS
factory string, which has commas of its own, and options as ``name=value``::

    hnsw,tree                      two methods with their defaults
    ivf:IVF512,Flat,exact          two methods: "ivf:IVF512,Flat" and "exact"
    hnsw(HNSW16),ivf(IVF512,SQ8)   the same, in parentheses (which a shell wants quoted)
    hnswlib:links=48,metric=inner-product,lorann:n_clusters=512
    engine:float16                 the learned index's engine in another precision

After a colon the text goes on over commas until the next method begins. No guess is made: every
method begins with a lower-case letter and holds no ``=`` before its colon, every part of a factory
string begins with an upper-case one.

A method is one file beside this one with a class under :func:`register`; help, options, versions in
the report and the pip command of an error follow from that. Another package registers its own.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from learned_index.comparison.method import (
    OVER_CLASSIFIERS,
    About,
    LabelClassifiers,
    Method,
    MethodSpec,
)
from learned_index.comparison.settings import INDEX_CLASSIFIERS
from learned_index.errors import InputError
from learned_index.inputs.similar import did_you_mean

_KNOWN: dict[str, type[Method]] = {}
_NAME = re.compile(r"[a-z][a-z0-9_-]*")
_SPEC = re.compile(r"(?P<method>[a-z][a-z0-9_-]*)(?::(?P<colon>.*)|\((?P<parentheses>.*)\))?")
_OPTION = re.compile(r"[a-z][a-z0-9_]*=")

Adapter = TypeVar("Adapter", bound=type[Method])


def register(
    name: str,
    *,
    summary: str,
    package: str | None = None,
    install: str | None = None,
    text_option: str | None = None,
    default: bool = False,
) -> Callable[[Adapter], Adapter]:
    """Make a class of methods known under a name.

    The class must be importable by name: each method is measured in a process of its own.

    Args:
        name: Name on the command line.
        summary: As what follows, see :class:`~learned_index.comparison.method.About`.

    Raises:
        InputError: The name is taken, or could not be told from a factory string.
    """
    if not _NAME.fullmatch(name):
        raise InputError(f"a method's name is lower-case letters, digits, - and _, got {name!r}")

    def known(adapter: Adapter) -> Adapter:
        other = _KNOWN.get(name)
        if other is not None and other.__qualname__ != adapter.__qualname__:
            raise InputError(f"the method {name!r} is registered already")
        adapter.method = name
        adapter.about = About(summary, package, install, text_option, default)
        _KNOWN[name] = adapter
        return adapter

    return known


def methods() -> dict[str, type[Method]]:
    """Return all methods by name: those of this package, and what else was registered."""
    _import_all()
    return dict(sorted(_KNOWN.items()))


@functools.cache
def _import_all() -> None:
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        importlib.import_module(f"learned_index.baselines.{module.name}")


def known_methods() -> list[str]:
    """Return the names of all methods."""
    return list(methods())


def default_baselines() -> str:
    """Return what ``li compare`` measures unless told otherwise, as a list to parse."""
    return ",".join(name for name, adapter in methods().items() if adapter.about.default)


def options_of(adapter: type[Method]) -> dict[str, str]:
    """Return the build arguments of a method that are options, each with its help."""
    return {
        each.name: f"{each.metadata['help']}; default: {each.default}"
        for each in fields(adapter)
        if each.name not in ("name", adapter.about.text_option)
    }


def parse_baselines(
    text: str | Iterable[str], *, python: Mapping[str, str] | None = None
) -> list[MethodSpec]:
    """Parse the methods that a user asks for.

    Args:
        text: A list as described in this module, or several of them.
        python: Interpreters of other environments by the name of a method, or of a method as it
            is written in the list; they measure it.

    Returns:
        One specification for each method, in the order written.

    Raises:
        InputError: A name is unknown or appears twice, parentheses do not match, a method that
            takes no factory string got one, or an interpreter is for a method that is not there.

    Example:
        >>> [spec.name for spec in parse_baselines("hnsw,ivf:IVF512,Flat,tree")]
        ['hnsw', 'ivf:IVF512,Flat', 'tree']
    """
    lists = [text] if isinstance(text, str) else list(text)
    elsewhere = dict(python or {})
    specs = [_parse_one(part, elsewhere) for one in lists for part in _split(one)]
    if not specs:
        raise InputError(f"no method is named; known are {', '.join(known_methods())}")
    names = [spec.name for spec in specs]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"the method {name!r} is named twice; each row needs its own name")
    unused = set(elsewhere) - {*names, *(spec.method for spec in specs)}
    if unused:
        raise InputError(f"an interpreter is given for {', '.join(sorted(unused))}, which is not "
                         f"measured; methods are {', '.join(names)}")  # fmt: skip
    return specs


def parse_classifiers(text: str) -> tuple[bool, list[MethodSpec]]:
    """Parse the label classifiers that the searches are to search.

    Args:
        text: ``index``, a method that trains classifiers against all labels (``ova``, or
            ``ova:epochs=9``), or several of them, separated by commas.

    Returns:
        Whether those of the trained index are searched, and the methods that train others.

    Raises:
        InputError: A name is none of these.

    Example:
        >>> parse_classifiers("index,ova:epochs=9")[1][0].options
        {'epochs': 9}
    """
    parts = _split(text)
    others = [part for part in parts if part != INDEX_CLASSIFIERS]
    takers = [name for name, adapter in methods().items() if issubclass(adapter, LabelClassifiers)]
    for part in others:
        if re.split("[:(]", part)[0] not in takers:
            raise InputError(
                f"{part!r} names no label classifiers that can be searched; there are "
                f"{INDEX_CLASSIFIERS} (those of the model) and {', '.join(takers)} (trained here), "
                f"or both with a comma: {INDEX_CLASSIFIERS},{takers[0]}"
            )
    return len(others) < len(parts), parse_baselines(others) if others else []


def over_classifiers(
    specs: Iterable[MethodSpec], *, index: bool, others: Iterable[MethodSpec]
) -> list[MethodSpec]:
    """Let each search over label classifiers search those that are wanted.

    Args:
        specs: The methods, over the index's classifiers.
        index: Whether these are wanted.
        others: Methods that train others.

    Returns:
        The methods, without searches over the index's classifiers where they are not wanted; then
        the searches over each of the others.

    Raises:
        InputError: No method searches the others.
    """
    specs, others = list(specs), list(others)
    searches = [spec for spec in specs if spec.inputs in OVER_CLASSIFIERS]
    if others and not searches:
        names = ", ".join(spec.name for spec in specs)
        raise InputError(
            f"none of {names} searches label classifiers, so those of {others[0].name} are of no "
            "use; name a method that does, e.g. exact"
        )
    kept = [spec for spec in specs if index or spec.inputs not in OVER_CLASSIFIERS]
    return kept + [spec.over(other.name) for other in others for spec in searches]


def _split(text: str) -> list[str]:
    """Split at the commas that stand outside parentheses and before a new method."""
    parts: list[str] = []
    depth = 0
    current = ""
    for character in text:
        depth += (character == "(") - (character == ")")
        if depth < 0:
            raise InputError(f"a parenthesis is closed but not opened in {text!r}")
        if character == "," and depth == 0:
            parts.append(current)
            current = ""
        else:
            current += character
    if depth:
        raise InputError(f"a parenthesis is opened but not closed in {text!r}")
    parts.append(current)
    found: list[str] = []
    for part in (part.strip() for part in parts):
        if not part:
            raise InputError(f"there is an empty name between commas in {text!r}")
        if part[0].islower() and not _OPTION.match(part):
            found.append(part)
        elif found and ":" in found[-1]:
            found[-1] += f",{part}"
        else:
            raise InputError(
                f"{part!r} is no method; known are {', '.join(known_methods())}; a factory string "
                "or an option follows its method and a colon, e.g. ivf:IVF512,Flat or "
                "hnswlib:links=48"
            )
    return found


def _parse_one(text: str, python: Mapping[str, str]) -> MethodSpec:
    known = methods()
    match = _SPEC.fullmatch(text)
    method = match["method"] if match else text
    if match is None or method not in known:
        guess = did_you_mean(method, known)
        all_of_them = f"{' Known' if guess else '; known'} are {', '.join(known)}"
        raise InputError(f"unknown method {method!r}{guess}{all_of_them}")
    adapter, interpreter = known[method], python.get(text, python.get(method))
    given = match["colon"] if match["colon"] is not None else match["parentheses"]
    if given is None:
        return MethodSpec(name=text, adapter=adapter, python=interpreter)
    if not given.strip():
        raise InputError(f"{text!r} names no factory string; leave out the colon for the default")
    parts = [part.strip() for part in given.split(",")]
    options = dict(_option(adapter, part) for part in parts if _OPTION.match(part))
    free = ",".join(part for part in parts if not _OPTION.match(part))
    text_option = adapter.about.text_option
    if free and text_option is None:
        takers = ", ".join(name for name, other in known.items() if other.about.text_option)
        raise InputError(f"{method} takes no factory string, got {text!r}; those that do: {takers}")
    if free:
        options[str(text_option)] = free
    spec = MethodSpec(name=text, adapter=adapter, options=options, python=interpreter)
    try:
        spec.create()  # refuses wrong values now, not after an hour
    except InputError as error:
        raise InputError(f"{text}: {error}") from None
    return spec


def _option(adapter: type[Method], part: str) -> tuple[str, Any]:
    """Read ``name=value``, a build argument of the method; its class checks the value.

    Raises:
        InputError: The method has no such argument.
    """
    name, _, text = part.partition("=")
    known = options_of(adapter)
    if name not in known:
        names = ", ".join(known) or "none"
        raise InputError(f"{adapter.method} has no option {name!r}; it has: {names}")
    kinds = get_type_hints(adapter)[name]
    if kinds is not str:
        for kind in (int, float):
            try:
                return name, kind(text)
            except ValueError:
                continue
    return name, text
