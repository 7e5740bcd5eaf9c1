"""The configurations that are shipped: files of options, and the presets under their names."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import click

from learned_index.cli.shared.model_options import SECTIONS
from learned_index.cli.shared.options import joined
from learned_index.elias.presets import PRESETS
from learned_index.errors import InputError
from learned_index.inputs.similar import did_you_mean

_PRESETS_OF = {"train": "train", "plan": "train", "train-index": "train-index"}
"""The command whose presets a command takes."""


def shipped_files() -> dict[str, str]:
    """Return the texts of the files that are shipped, by their names."""
    folder = files("learned_index.cli") / "configs"
    return {
        each.name.removesuffix(".yaml"): each.read_text(encoding="utf-8")
        for each in sorted(folder.iterdir(), key=lambda each: each.name)
        if each.name.endswith(".yaml")
    }


def shipped_configs(command: str) -> dict[str, str]:
    """Return the configurations of a command, each with a line that tells what it is.

    Args:
        command: Name of the command.
    """
    found = {
        name: preset["help"]
        for name, preset in PRESETS.items()
        if preset["command"] == _PRESETS_OF[command]
    }
    if _PRESETS_OF[command] == "train":
        for name, text in shipped_files().items():
            found[name] = text.partition("\n")[0].lstrip("# ")
    return found


def shipped_text(name: str, *, command: str) -> str | None:
    """Return the text of a configuration that is shipped.

    Args:
        name: As it is listed.
        command: Name of the command that is to take it.

    Returns:
        None where the name is that of a file: it has a suffix or a folder in it.

    Raises:
        InputError: Nothing of this name is shipped.
    """
    if "/" in name or name.endswith((".yaml", ".yml")):
        return None
    known, wanted = shipped_configs(command), name.lower()
    if wanted not in known:
        raise InputError(
            f"no configuration is called {name!r}{did_you_mean(wanted, known)}; there are "
            f"{', '.join(known)}; a file of your own ends in .yaml"
        )
    return f"preset: {wanted}\n" if wanted in PRESETS else shipped_files()[wanted]


def _preset_text(name: str) -> str:
    """A preset as a file: its one option, and behind it what that sets, to be changed."""
    preset = PRESETS[name]
    lines = [f"# {preset['help']}", f"preset: {name}", ""]
    lines += ["# What the preset sets. A line without its # wins over it.", "#"]
    lines.append(f"# encoder: {preset['encoder']}")
    parts: list[tuple[str, Mapping[Any, Any]]] = [("", preset)]
    for limit, more in preset.get("by_labels", []):
        title = "more labels than these" if limit is None else f"up to {limit:,} labels"
        parts.append((title, more))
    for title, part in parts:
        if title:
            lines += ["#", f"# {title}:"]
        for section, (_, prefix) in SECTIONS.items():
            for field, value in part.get(section, {}).items():
                lines.append(f"# {joined(prefix, field).replace('_', '-')}: {value}")
    if "labels_per_cluster" in preset:
        lines += [
            "#",
            f"# n-clusters: the power of two nearest to L / {preset['labels_per_cluster']}",
        ]
    return "\n".join(lines) + "\n"


def list_configs(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    """Print the configurations that are shipped, and end."""
    if not asked or ctx.resilient_parsing:
        return
    known = shipped_configs(str(ctx.command.name))
    width = max(map(len, known))
    for name, about in known.items():
        click.echo(f"{name:<{width}}  {about}")
    ctx.exit()


def show_config(ctx: click.Context, _: click.Parameter, name: str | None) -> None:
    """Print a configuration that is shipped, and end."""
    if name is None or ctx.resilient_parsing:
        return
    text = shipped_text(name, command=str(ctx.command.name))
    if text is None:
        raise InputError(f"--show-config takes a name of --list-configs, got the file {name!r}")
    click.echo(_preset_text(name.lower()) if name.lower() in PRESETS else text, nl=False)
    ctx.exit()
