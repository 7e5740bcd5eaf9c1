"""Help in panels: the common options first, all of them on request, examples that run."""

from __future__ import annotations

import re
import resource
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from cli_cases import li, ok
from conftest import tiny_dataset
from elias_cases import fitted

from learned_index.cli.main import COMMANDS, main
from learned_index.cli.shared.help import COMMON, PANELS, PanelCommand, command, panel
from learned_index.data import write_dataset


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command with the words that call it, those of groups too."""

    def inside(words: str, found: click.Command) -> Iterator[tuple[str, click.Command]]:
        yield words, found
        if isinstance(found, click.Group):
            for name, below in found.commands.items():
                yield from inside(f"{words} {name}", below)

    context = click.Context(main)
    for name in COMMANDS:
        found = main.get_command(context, name)
        assert found is not None
        yield from inside(name, found)


ALL = dict(commands())
IN_PANELS = [words for words, each in ALL.items() if isinstance(each, PanelCommand)]
LARGE = [words for words in IN_PANELS if getattr(ALL[words], "common", ())]


def options(text: str) -> set[str]:
    """Options that begin a line of the help."""
    return set(re.findall(r"^  (?:-\w, )?(--?[a-z][\w-]*)", text, re.M))


def test_the_help_of_a_training_fits_on_a_screen() -> None:
    text = ok("train", "--help")
    assert len(text.splitlines()) < 80  # it had 173
    common = text.split("Common:")[1].split("More, shown by li train --help-all:")[0]
    shown = options(common) - {"--help", "--help-all", "-h"}
    assert shown == {"--data", "--text", "--labels", "--out", "--preset", "--encoder",
                     "--n-models", "--evaluate-test", "--resume", "--threads"}  # fmt: skip
    everything = ok("train", "--help-all")
    for name in ("Encoder", "Index", "Training", "Ranker", "Calibration", "Machine"):
        assert f"\n{name}:\n" in everything and f"\n  {name} " in text


@pytest.mark.parametrize("words", LARGE)
def test_all_options_stand_in_one_panel_and_the_common_ones_in_the_first(words: str) -> None:
    found = ALL[words]
    assert isinstance(found, PanelCommand)
    context = click.Context(found, info_name=f"li {words}")
    panels = found.panels(context)
    names = [str(option.name) for each in panels.values() for option in each]
    known = [str(p.name) for p in found.get_params(context) if isinstance(p, click.Option)]
    assert sorted(names) == sorted(known)
    shown = [str(o.name) for o in panels[COMMON] if not {"--help", "--help-all"} & {*o.opts}]
    assert len(shown) <= 10 and shown == [n for n in found.common if n in shown]
    assert [name for name in PANELS if name in panels] == list(panels)
    brief, whole = (ok(*words.split(), flag) for flag in ("--help", "--help-all"))
    assert len(brief.splitlines()) < len(whole.splitlines())
    longest = {max(o.opts, key=len) for each in panels.values() for o in each}
    assert all(name in whole for name in longest)


@pytest.mark.parametrize("words", list(ALL))
def test_lines_of_the_help_fit_and_its_commands_are_whole(words: str) -> None:
    for flag in ("--help", "--help-all") if words in LARGE else ("--help",):
        lines = ok(*words.split(), flag).splitlines()
        assert max(map(len, lines)) <= 80, max(lines, key=len)


def test_options_of_a_small_command_are_shown_in_their_panels() -> None:
    @command(examples=("li small --first 1",))
    @panel("Index", click.option("--first"), click.option("--second"))
    @click.option("--third")
    def small(**_: object) -> None:
        """Do little."""

    text = small.get_help(click.Context(small, info_name="small"))
    assert text.index("Options:") < text.index("--third") < text.index("Index:")
    assert text.index("--first") < text.index("--second")
    assert "--help-all" not in text and text.rstrip().endswith("li small --first 1")


def test_panels_and_common_options_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ValueError, match="'Indices' is no panel"):
        panel("Indices")
    with pytest.raises(ValueError, match="no parameter beam"):
        command("x", common=("beam",))(lambda: None)


@pytest.mark.performance
@pytest.mark.parametrize("words", ["", "train", "compare", "data import", "labels list", "report"])
def test_help_comes_at_once(words: str) -> None:
    """Half a second of the processor, start and end of the process included; the best of three."""

    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        asked = [sys.executable, "-m", "learned_index.cli", *words.split(), "--help"]
        subprocess.run(asked, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(3)) < 0.5


# ---- the examples ------------------------------------------------------------------------------

QUICK = "--encoder lsa --stage1-epochs 1 --stage2-epochs 1 --batch-size 64 --cache off"
MORE = {
    "li train ": f"{QUICK} --overwrite",
    "li train-index ": "--stage1-epochs 1 --stage2-epochs 1 --cache off --overwrite",
    "li plan ": "--encoder lsa",
    "li embed ": "--no-cache",
    "li compare ": "--repeats 1 --timing-seconds 0 --max-queries 20 --cache off",
    "li report ": "--cache off",
    "li analyse ": "--cache off",
    "li inspect ": "--cache off",
    "li suggest-missing ": "--cache off",
    "li data build ": "--package click",
    "li data split ": "--size 50",
}
"""What makes an example quick; a user's own would take minutes."""
NAMED = {
    "'Turbulent flow'": "music", "sold out": "sorting", "mobile phones": "cooking",
    "cell phones": "weather", "green tea leaves": "rain wind cloud", "model 17": "model 3",
}  # fmt: skip
"""Labels and words of the examples that the model of the tests does not know, and others."""


def examples() -> list[tuple[str, str]]:
    """Every example line of every command."""
    found = []
    for words in IN_PANELS:
        each = ALL[words]
        assert isinstance(each, PanelCommand)
        joined = "\n".join(each.examples).replace("\\\n", "")
        found += [(words, line) for line in joined.splitlines()]
    return found


def test_every_command_in_panels_has_an_example() -> None:
    missing = [words for words in IN_PANELS if not ALL[words].examples]  # type: ignore[attr-defined]
    assert missing == []


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the examples name: data, a table, models."""
    root = tmp_path_factory.mktemp("examples")
    train, test = tiny_dataset("train", 300, seed=0), tiny_dataset("test", 40, seed=2)
    dev = tiny_dataset("dev", 40, seed=1)
    for name in ("my-data", "this-week", "api-docs"):
        write_dataset(root / name, [train, dev, test], format_name="text")
    write_dataset(root / "my-titles", [train], format_name="text")
    rows = ["title,abstract,tags"]
    rows += [f"{text},more,{'|'.join(train.label_names(row))}" for row, text in
             enumerate(train.texts[:200])]  # fmt: skip
    (root / "articles.csv").write_text("\n".join(rows), encoding="utf-8")
    model = fitted(records="yes")
    for name in ("model", "old-model", "new-model"):
        model.save_pretrained(root / name)
    (root / "texts.txt").write_text("\n".join(test.texts), encoding="utf-8")
    (root / "queries.txt").write_text("\n".join(test.texts[:3]), encoding="utf-8")
    return root


def cases() -> list[object]:
    """Those that compile engines or start processes of their own take longer."""
    return [
        pytest.param(
            *each,
            marks=[pytest.mark.slow]
            * any(word in each[1] for word in (" compare ", " compile ", "comparison")),
            id=each[1][:60],
        )
        for each in examples()
        if each[0] != "serve"  # which does not end: tests/serving run it
    ]


@pytest.mark.parametrize(("words", "line"), cases())
def test_the_examples_run(
    words: str, line: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "minilm" in line:
        line = line.replace("minilm", "lsa")  # the model's download may not be there
    shutil.copytree(place, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    asked, _, pipe = line.partition(" | ")
    asked, _, given = asked.partition(" < ")
    for name, other in NAMED.items():
        asked = asked.replace(name, other)
    more = next((text for begin, text in MORE.items() if asked.startswith(begin)), "")
    arguments = [*shlex.split(asked)[1:], *shlex.split(more)]
    prepare(arguments)
    # What the shell reads from a file and writes to one, an example names behind "<" and ">".
    source = Path(given.partition(" > ")[0]).read_bytes() if given else None
    result = li(*arguments, stdin=source)
    assert result.exit_code == 0, result.output
    if pipe:
        done = subprocess.run(["sh", "-c", pipe], input=result.stdout, text=True, check=False,
                              capture_output=True)  # fmt: skip
        assert done.returncode == 0 and done.stdout


def prepare(arguments: list[str]) -> None:
    """Make what an example takes from the one before it."""
    if "vectors" in arguments and arguments[0] == "train-index":
        ok("embed", "--data", "my-data", "--encoder", "lsa", "--out", "vectors", "--no-cache")
    if arguments[0] == "report" and "--comparison" in arguments:
        ok("compare", "--data", "my-data", "--model", "model", "--out", "comparison",
           "--baselines", "exact", *shlex.split(MORE["li compare "]))  # fmt: skip
    if "mine.jsonl" in arguments:
        ok("predict", "model", "my-data", "--out", "mine.jsonl")
    if arguments[:2] == ["data", "build"]:
        arguments += ["--force"]
    if arguments[:2] == ["data", "import"] and "--out" in arguments:
        shutil.rmtree("my-data")
