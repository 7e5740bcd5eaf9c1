"""The look of pictures: files of the same bytes, names beside lines that do not overlap."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from learned_index.plotting import (
    COLOURS,
    MARKERS,
    Series,
    draw_series,
    moved_apart,
    new_figure,
    save_figure,
    titled,
)

pytest.importorskip("matplotlib", reason="pictures need matplotlib")


def test_names_beside_lines_keep_their_order_and_their_distance() -> None:
    ends = [(0.5, "a", ""), (0.51, "b", ""), (0.1, "c", ""), (0.505, "d", "")]
    moved = list(moved_apart(ends, 0.05))
    assert [end[1] for end, _, _ in moved] == ["c", "a", "d", "b"]
    places = [place for _, place, _ in moved]
    assert np.diff(places).min() >= 0.05 - 1e-9
    assert places[0] == 0.1 and np.mean(places[1:]) == pytest.approx(0.505)
    assert [end for _, _, end in moved] == [0.1, 0.5, 0.505, 0.51]


def test_blocks_of_names_that_meet_are_one() -> None:
    ends = [(place, str(number), "") for number, place in enumerate(np.linspace(0.4, 0.6, 12))]
    places = [place for _, place, _ in moved_apart(ends, 0.05)]
    np.testing.assert_allclose(np.diff(places), 0.05)
    assert np.mean(places) == pytest.approx(0.5)


def drawn() -> object:
    figure, (axes,) = new_figure()
    titled(figure, "title", below="below")
    axes.set_ylim(0, 2)
    draw_series(axes, {f"line {n}": Series([0, 1], [n / 6, n / 5]) for n in range(10)})
    return figure


def test_the_same_numbers_make_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_figure(drawn(), tmp_path / f"{name}.png", tmp_path / f"{name}.svg")
    for form in ("png", "svg"):
        assert (tmp_path / f"a.{form}").read_bytes() == (tmp_path / f"b.{form}").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "a.svg", "b.png", "b.svg"}


def test_every_line_has_its_name_within_the_picture() -> None:
    figure = drawn()
    figure.canvas.draw()  # type: ignore[attr-defined]
    (axes,) = figure.axes  # type: ignore[attr-defined]
    boxes = [text.get_window_extent() for text in axes.texts]
    assert [text.get_text() for text in axes.texts] and len(boxes) == 10
    width, height = figure.canvas.get_width_height()  # type: ignore[attr-defined]
    assert all(box.x1 <= width and box.y0 >= 0 and box.y1 <= height for box in boxes)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_small_letters_below_stay_within_the_picture() -> None:
    figure, _ = new_figure(width=4.0)
    titled(figure, "title", below="some words of usual length " * 12)
    figure.canvas.draw()
    (below,) = (text for text in figure.texts if text.get_text().startswith("some"))
    assert below.get_window_extent().x1 <= figure.canvas.get_width_height()[0]
    assert below.get_text().count("\n") >= 3


def test_colours_and_markers_go_round_apart() -> None:
    assert len(set(COLOURS)) == len(COLOURS) and len(MARKERS) == len(COLOURS) + 1
