"""``--threshold``: a number, or the word ``best``."""

from __future__ import annotations

from typing import Any

import click

from learned_index.cli.shared.options import ParamType


class ThresholdValue(ParamType):
    """A number in 0 to 1, or ``best``."""

    name = "0..1|best"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Convert."""
        if value == "best" or isinstance(value, float):
            return value
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if not 0.0 <= number <= 1.0:
            self.fail(
                f"{value!r} is no threshold, expected a number in 0 to 1, or best", param, ctx
            )
        return number


threshold_option = click.option(
    "--threshold",
    type=ThresholdValue(),
    metavar="0..1|best",
    help="Leave out answers below this probability; best: below the one that is best (F1 on "
    "held-out points) for labels as frequent.",
)
