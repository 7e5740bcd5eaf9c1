"""Kernels compiled without AVX-512 find what those find that use all that the processor has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from index_cases import QUICK, SMALL, planted

from learned_index import EngineConfig, IndexConfig, LearnedGraphIndex
from learned_index.kernels.machine.byte_dots import PORTABLE, has_vnni
from learned_index.system.environment import describe_environment, instruction_sets

X, Y = planted()
PROGRAM = """
import json, sys
import numpy as np, torch
from learned_index import SearchEngine
from learned_index.system.environment import instruction_sets
from learned_index.kernels.machine import byte_dots
torch.set_num_threads(1)
folder, queries = sys.argv[1], np.load(sys.argv[1] + "/queries.npy")
for name in sys.argv[2:]:
    engine = SearchEngine.from_pretrained(f"{folder}/{name}")
    np.savez(f"{folder}/{name}.npz", **engine.search(queries, 20)._asdict())
assert byte_dots.dot_u8_s8 is byte_dots.dot_u8_s8_plain
print(json.dumps(instruction_sets()))
"""


def portable(*command: object) -> str:
    words = [sys.executable, *map(str, command)]
    done = subprocess.run(
        words, env=os.environ | PORTABLE, check=False, text=True, stdout=subprocess.PIPE
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


LOGITS = """
import hashlib
import numpy as np
from learned_index.kernels.engine.logits import group_logits, row_logits
rng = np.random.default_rng(0)
rows = rng.integers(0, 256, (31, 128)).astype(np.uint8)
codes = rng.integers(-127, 128, (3, 128)).astype(np.int8)
scales, sums = rng.random(31).astype("f4"), 128 * codes.astype("i4").sum(1, dtype="i4")
one, some = np.zeros(31, "f4"), np.zeros(93, "f4")
at = np.uintp(rows.ctypes.data)
row_logits(at, scales, 31, 128, codes[0], np.float32(0.5), sums[0], one)
group_logits(at, scales, 31, 128, codes.ravel(), scales[:3], sums, 3, some)
print(hashlib.sha256(one.tobytes() + some.tobytes()).hexdigest())
"""


def test_logits_of_codes_have_the_same_bits(capsys):
    exec(LOGITS, {})
    assert portable("-c", LOGITS) == capsys.readouterr().out


@pytest.mark.slow
def test_both_paths_answer_alike(tmp_path: Path):
    config = IndexConfig(n_clusters=12, beam_width=3, hierarchy="deep", n_regions=4)
    engines = {
        "flat": LearnedGraphIndex(SMALL, training=QUICK).fit(X, Y).to_engine(),
        "deep": LearnedGraphIndex(config, training=QUICK).fit(X, Y)
        .to_engine(EngineConfig(precision="float16")),
    }  # fmt: skip
    for name, engine in engines.items():
        engine.save_pretrained(tmp_path / name)
    np.save(tmp_path / "queries.npy", X[:300])
    ran = json.loads(portable("-c", PROGRAM, tmp_path, *engines))
    assert ran["kernels"] == "x86-64-v3 avx2"
    for name, engine in engines.items():
        here, there = engine.search(X[:300], 20), np.load(tmp_path / f"{name}.npz")
        np.testing.assert_array_equal(here.ids, there["ids"])
        np.testing.assert_allclose(here.scores, there["scores"], rtol=1e-6)


@pytest.mark.slow
def test_the_kernel_tests_pass_on_the_portable_path():
    tests = Path(__file__).parent
    files = [tests / name for name in ("kernels/test_engine_kernels.py", "engine/test_engine.py")]
    assert "passed" in portable("-m", "pytest", "-q", "-p", "no:cacheprovider", *files)


@pytest.mark.slow
def test_the_cache_keeps_the_paths_apart(tmp_path: Path):
    code = (
        "import numpy as np; from learned_index.kernels.machine import dense; "
        "dense.rows_dot(np.ones((2, 8), 'f4'), np.ones(8, 'f4')); "
        "print(len(dense._rows_dot.stats.cache_hits))"
    )
    native = {k: v for k, v in os.environ.items() if k not in PORTABLE}
    hits = []
    for path in ({}, {}, PORTABLE, PORTABLE):
        environment = native | path | {"NUMBA_CACHE_DIR": str(tmp_path)}
        command = [sys.executable, "-c", code]
        hits.append(subprocess.run(
            command, env=environment, check=True, text=True, stdout=subprocess.PIPE
        ).stdout.strip())  # fmt: skip
    assert hits == ["0", "1", "0", "1"]


def test_the_environment_tells_the_instructions():
    found = instruction_sets()
    assert json.loads(json.dumps(describe_environment()))["instructions"] == found
    assert ("avx512vnni" in found["kernels"]) == has_vnni()
    assert any("openblas" in blas for blas in found["blas"])
