"""Ask a model questions whose answers are known, and count how many are among the first five.

    python examples/answer_questions.py demo/model examples/questions.tsv

A line of the file is a question, a tab, and the label that a person would expect; behind further
tabs the same function in other packages.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from learned_index import ELIAS


def main() -> None:
    """Print a line a question: the place of an expected label, and the first answer."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("questions", type=Path)
    parser.add_argument("-k", type=int, default=5, help="answers that count (default: 5)")
    arguments = parser.parse_args()
    lines = arguments.questions.read_text(encoding="utf-8").splitlines()
    asked = [line.split("\t") for line in lines if line]
    model = ELIAS.from_pretrained(arguments.model)
    found = 0
    for (question, *expected), answers in zip(
        asked, model.predict([question for question, *_ in asked], k=arguments.k), strict=True
    ):
        names = [name for name, _ in answers]
        place = next((n for n, name in enumerate(names, 1) if name in expected), None)
        found += place is not None
        print(f"{place or '-'}  {question[:74]}")
        right = names[place - 1] if place else expected[0]
        print(f"   {right}" + ("" if place == 1 else f"; first: {names[0] if names else '-'}"))
    print(f"{found} of {len(asked)} expected answers are among the first {arguments.k}")


if __name__ == "__main__":
    main()
