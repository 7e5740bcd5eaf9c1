"""Kernels, search and training on a GPU, beside plain torch and beside the hardware's floors.

    python benchmarks/gpu.py --out results/gpu                  # on the first CUDA device
    python benchmarks/gpu.py --out results/gpu --device cpu --small

The shape is that of LF-AmazonTitles-131K (294,805 points, 131,073 labels, batches of 512,
D = 768), the contents are random. A floor is the larger of bytes over copy bandwidth and operations
over the rate of float32 products, both measured in the same run. Training times follow from the
measured step; they leave out reading, clustering and validation. Writes gpu.json and gpu.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Any

import torch
from on_device.data import SMALL, Shape, make_index
from on_device.measure import Rates, device_name, measure_rates
from on_device.operations import make_operations, run_operation
from on_device.whole import EPOCHS, run_search, run_training

from learned_index.persistence import atomic_file, write_json
from learned_index.system.environment import describe_environment

SECTIONS = ("operations", "search", "training", "encoder")


def main(argv: list[str] | None = None) -> int:
    """Measure and write; 2 when the arguments do not fit the machine."""
    arguments = _parser().parse_args(argv)
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("error: no CUDA device is here; use --device cpu --small to try", file=sys.stderr)
        return 2
    sections = arguments.sections.split(",")
    unknown = set(sections) - set(SECTIONS)
    if unknown:
        print(f"error: no section {sorted(unknown)}; there are {SECTIONS}", file=sys.stderr)
        return 2
    shape = SMALL if arguments.small else Shape()
    report = measure(shape, device, sections, repeats=arguments.repeats, epochs=arguments.epochs)
    arguments.out.mkdir(parents=True, exist_ok=True)
    text = as_markdown(report)
    with atomic_file(arguments.out / "gpu.md") as path:
        path.write_text(text, encoding="utf-8")
    write_json(arguments.out / "gpu.json", report)
    print(text)
    return 0


def measure(
    shape: Shape, device: torch.device, sections: list[str], *, repeats: int, epochs: int
) -> dict[str, Any]:
    """All figures as plain data."""
    small = shape == SMALL
    rates = measure_rates(
        device,
        copy_bytes=1 << (22 if small else 30),
        side=128 if small else 8192,
        repeats=repeats,
    )
    report: dict[str, Any] = {
        "device": device_name(device),
        "environment": describe_environment() | {"cuda": torch.version.cuda},
        "shape": dataclasses.asdict(shape),
        "rates": dataclasses.asdict(rates),
        "repeats": repeats,
    }
    _say(f"{report['device']}: {_rates(rates)}")

    def make() -> Any:
        return make_index(shape, seed=0, device=device)

    if "operations" in sections:
        report["operations"] = []
        for operation in make_operations(make(), shape, device):
            _say(operation.name)
            report["operations"] += run_operation(operation, device, rates, repeats=repeats)
    if "search" in sections:
        _say("search")
        report["search"] = run_search(make(), shape, device, rates, repeats=repeats)
    for section, with_encoder in (("training", False), ("encoder", True)):
        if section in sections:
            _say(f"training steps {'with' if with_encoder else 'without'} an encoder")
            report[section] = run_training(
                make, shape, device, repeats=repeats, with_encoder=with_encoder, epochs=epochs
            )
    return report


def as_markdown(report: dict[str, Any]) -> str:
    """The report as tables."""
    shape = report["shape"]
    lines = [
        f"# {report['device']}",
        "",
        f"{report['environment']['date']}, torch {report['environment']['versions']['torch']}, "
        f"CUDA {report['environment']['cuda']}. "
        f"L = {shape['n_labels']}, D = {shape['dim']}, B = {shape['batch']}, "
        f"C = {shape['n_clusters']}, W = {shape['beam_width']}, K = {shape['shortlist_size']}; "
        f"medians of {report['repeats']} runs.",
        "",
        _rates(Rates(**report["rates"])),
    ]
    columns = {
        "operations": (
            "operation", "implementation", "median_ms", "floor_ms", "times_floor", "peak_mb",
        ),
        "search": (
            "implementation", "ms_per_query", "floor_ms_per_query", "times_floor", "peak_mb",
            "paper_ms_per_query",
        ),
        "training": (
            "encoder", "implementation", "ms_per_step", "steps_per_s", "epochs", "hours",
            "peak_mb", "paper_hours",
        ),
    }  # fmt: skip
    columns["encoder"] = columns["training"]
    for section, names in columns.items():
        if section in report:
            lines += ["", f"## {section}", "", "| " + " | ".join(names) + " |"]
            lines.append("|" + "---|" * len(names))
            lines += [
                "| " + " | ".join(_cell(row[name]) for name in names) + " |"
                for row in report[section]
            ]
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else f"{value:.4g}"


def _rates(rates: Rates) -> str:
    tf32 = "" if rates.tf32_flops_per_s is None else f", {rates.tf32_flops_per_s / 1e12:.4g} TF32"
    return (
        f"copy {rates.bytes_per_s / 1e9:.4g} GB/s (read and written); products "
        f"{rates.flops_per_s / 1e12:.4g} TFLOP/s in float32{tf32}, "
        f"{rates.bf16_flops_per_s / 1e12:.4g} in bfloat16"
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="a tiny shape: only that it runs")
    parser.add_argument("--sections", default=",".join(SECTIONS), help="default: %(default)s")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument(
        "--epochs", type=int, default=EPOCHS, help="of the training (preset bert: %(default)s)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
