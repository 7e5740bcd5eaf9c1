"""Make the items of the catalogue, one after the other; what is there already is not made again."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from learned_index.errors import LearnedIndexError
from learned_index.persistence.digest import bytes_digest, digest
from learned_index.reproduction.catalogue import Item
from learned_index.reproduction.results import Made, found_result, write_page, write_result
from learned_index.reproduction.study import Study


def maker(item: Item) -> Callable[[Study], Made]:
    """Return the function that makes an item."""
    module, name = item.maker.split(":")
    function = getattr(importlib.import_module(f"learned_index.reproduction.{module}"), name)
    return cast("Callable[[Study], Made]", function)


def make_items(items: Sequence[Item], study: Study) -> Iterator[dict[str, Any]]:
    """Make items and write their files, and the page that lists them.

    Args:
        items: Which.
        study: Models, data and settings.

    Yields:
        What the JSON file of each holds, with ``"made"``: whether it was made now. An item that
        fails has ``"error"`` and no rows; the others go on.
    """
    for item in items:
        study.item = item
        key = digest([item.name, study.key, *_settings(study), _code()])
        result = found_result(item, study.out, key=key)
        made = result is None
        if result is None:
            study.say(item.name)
            try:
                result = write_result(item, maker(item)(study), study, key=key)
            except LearnedIndexError as error:
                text = " ".join(str(error).split())
                result = {"item": item.name, "title": item.title, "error": text}
        yield {**result, "made": made}
        write_page(study.out)


def _settings(study: Study) -> list[Any]:
    return [study.baselines, study.python, study.threads, study.encoder_spec, study.data]


def _code() -> str:
    """Digest of what draws and counts: pictures of an older version are made anew."""
    folder = Path(__file__).parent
    paths = [*sorted(folder.glob("*.py")), folder.parent / "plotting.py"]
    return bytes_digest(path.read_bytes() for path in paths)
