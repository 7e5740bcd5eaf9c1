"""Compile every Triton kernel for a GPU, without one; run by ``test_triton_kernels.py``.

    python tests/triton_compile.py 90

Prints one JSON object a line: kernel, registers a thread, bytes spilled, shared memory.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

import learned_index.kernels as package

# Types of the arguments by name; a kernel's own entries come first.
TYPES = {
    "x": "*fp32", "weight": "*fp32", "bias": "*fp32", "label_ids": "*i64", "grad_z": "*fp32",
    "order": "*i64", "starts": "*i64", "moment1": "*fp32", "moment2": "*fp32",
    "moment1_bias": "*fp32", "moment2_bias": "*fp32", "grad_weight": "*fp32",
    "grad_bias": "*fp32", "touched": "*u8", "clusters": "*i64", "scores": "*fp32",
    "edge_labels": "*i32", "edge_weights": "*fp32", "best": "*i64", "positives": "*i64",
    "n_positives": "*i64", "values": "*fp32", "n_taken": "*i64", "rows": "*i64", "grad": "*fp32",
    "logits": "*fp32", "paths": "*fp32", "n_valid": "*i64", "losses": "*fp32",
    "grad_path": "*fp32", "weights": "*fp32", "slots": "*i64", "edges": "*i64", "out": "*fp32",
    "learning_rate": "fp32", "beta1": "fp32", "beta2": "fp32", "epsilon": "fp32",
    "decay": "fp32", "correction1": "fp32", "correction2": "fp32",
    "B": "i32", "D": "i32", "K": "i32", "L": "i32", "M": "i32", "N": "i32", "P": "i32",
    "W": "i32", "n": "i32",
}  # fmt: skip
ROWS = {"BLOCK_PAIRS": 8, "BLOCK_D": 256}
CASES = [
    ("walk_kernel", {}, {"BLOCK": 1024}, 4),
    ("collect_kernel", {}, {"BLOCK": 1024}, 4),
    ("positives_kernel", {"out": "*i32"}, {"BLOCK": 256}, 1),
    ("select_kernel", {"out": "*i32"}, {"BLOCK": 2048}, 8),
    ("paths_kernel", {}, {"BLOCK": 1024}, 4),
    ("grad_scores_kernel", {}, {"BLOCK_W": 32, "BLOCK_K": 32}, 4),
    ("grad_edges_kernel", {}, {"BLOCK": 16}, 1),
    ("score_kernel", {}, {"BLOCK_K": 16, "BLOCK_D": 256}, 4),
    ("score_kernel", {"weight": "*bf16", "x": "*bf16"}, {"BLOCK_K": 16, "BLOCK_D": 256}, 4),
    ("score_kernel", {}, {"BLOCK_K": 16, "BLOCK_D": 16}, 4),
    ("grad_x_kernel", {}, {"BLOCK_K": 16, "BLOCK_D": 256}, 4),
    ("grad_rows_kernel", {}, ROWS, 2),
    ("update_rows_kernel", {}, ROWS, 2),
    ("step_rows_kernel", {}, {"BLOCK_D": 256}, 2),
    ("loss_kernel", {}, {"BLOCK": 1024}, 4),
    # Triton makes a number that is 1 a constant, and compiles another kernel for it.
    ("walk_kernel", {}, {"BLOCK": 16, "W": 1, "M": 1, "L": 1}, 4),
    ("collect_kernel", {}, {"BLOCK": 16, "W": 1, "M": 1, "L": 1}, 1),
    ("positives_kernel", {"out": "*i32"}, {"BLOCK": 16, "P": 1, "K": 1, "L": 1}, 1),
    ("select_kernel", {"out": "*i32"}, {"BLOCK": 2048, "N": 1, "K": 1}, 8),
    ("paths_kernel", {}, {"BLOCK": 1024, "n": 1, "W": 1, "K": 1}, 4),
    ("grad_scores_kernel", {}, {"BLOCK_W": 16, "BLOCK_K": 32, "W": 1, "K": 1}, 4),
    ("score_kernel", {}, {"BLOCK_K": 16, "BLOCK_D": 16, "K": 1, "D": 1}, 4),
    ("grad_x_kernel", {}, {"BLOCK_K": 16, "BLOCK_D": 16, "K": 1, "D": 1}, 4),
    ("grad_rows_kernel", {}, {"BLOCK_PAIRS": 8, "BLOCK_D": 16, "K": 1, "D": 1}, 1),
    ("update_rows_kernel", {}, {"BLOCK_PAIRS": 8, "BLOCK_D": 16, "K": 1, "D": 1}, 1),
    ("step_rows_kernel", {}, {"BLOCK_D": 16, "D": 1}, 1),
    ("loss_kernel", {}, {"BLOCK": 16, "K": 1}, 4),
]


def kernels() -> dict[str, triton.JITFunction]:
    """Every function called ``*_kernel`` in the package."""
    found = {}
    for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not info.name.endswith(".cuda"):
            continue
        module = importlib.import_module(info.name)
        for name, value in vars(module).items():
            if name.endswith("_kernel") and isinstance(value, triton.JITFunction):
                found[name] = value
    return found


def resources(compiled, architecture: int) -> tuple[int, int]:
    """Registers a thread and bytes spilled, as the assembler reports them."""
    tool = os.environ.get("TRITON_PTXAS_PATH") or str(
        Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "ptxas"
    )
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "kernel.ptx"
        source.write_text(compiled.asm["ptx"])
        suffix = "a" if architecture >= 90 else ""
        done = subprocess.run(
            [tool, "-v", f"--gpu-name=sm_{architecture}{suffix}", str(source), "-o", "/dev/null"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    (registers,) = re.findall(r"Used (\d+) registers", done.stderr)
    spilled = sum(int(n) for n in re.findall(r"(\d+) bytes spill", done.stderr))
    return int(registers), spilled


def main() -> None:
    """Compile all cases for the architecture in the first argument."""
    architecture = int(sys.argv[1])
    known = kernels()
    missing = set(known) - {name for name, *_ in CASES}
    if missing:
        raise SystemExit(f"no case compiles {sorted(missing)}")
    for name, types, constants, n_warps in CASES:
        kernel = known[name]
        types = {**TYPES, **types}
        signature = {a: "constexpr" if a in constants else types[a] for a in kernel.arg_names}
        source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
        compiled = triton.compile(
            source, target=GPUTarget("cuda", architecture, 32), options={"num_warps": n_warps}
        )
        registers, spilled = resources(compiled, architecture)
        print(json.dumps({
            "kernel": name, "registers": registers, "spilled": spilled,
            "shared": compiled.metadata.shared, "machine_code": len(compiled.asm["cubin"]),
        }), flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
