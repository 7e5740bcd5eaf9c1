"""Products, exponentials, ranges on threads: what the operations share."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learned_index.kernels.machine import byte_dots, exponential, intrinsics
from learned_index.kernels.machine.dense import rows_dot
from learned_index.kernels.machine.exponential import fast_log
from learned_index.kernels.machine.intrinsics import keep_until_here
from learned_index.kernels.machine.parallel import (
    collect_ranges,
    run_ranges,
    split_by_weight,
    split_evenly,
)
from learned_index.kernels.machine.scratch import zeros


@numba.njit
def _dots(function_rows, query, rows, n):
    out = np.empty(len(rows), np.int32)
    for i in range(len(rows)):
        out[i] = byte_dots.dot_u8_s8(
            np.uintp(rows.ctypes.data + i * n), np.uintp(query.ctypes.data), n
        )
    return out


@numba.njit
def _plain_dots(function_rows, query, rows, n):
    out = np.empty(len(rows), np.int32)
    for i in range(len(rows)):
        out[i] = byte_dots.dot_u8_s8_plain(
            np.uintp(rows.ctypes.data + i * n), np.uintp(query.ctypes.data), n
        )
    return out


@pytest.mark.parametrize("n", [64, 128, 384, 1024])
def test_dots_of_codes_are_exact(n):
    rng = np.random.default_rng(n)
    rows = rng.integers(0, 256, (50, n)).astype(np.uint8)
    query = rng.integers(-127, 128, n).astype(np.int8)
    rows[0], query[:] = 255, np.where(rng.random(n) < 0.9, 127, query)  # the largest sums
    expected = rows.astype(np.int64) @ query.astype(np.int64)
    np.testing.assert_array_equal(_dots(0, query, rows, n), expected)
    np.testing.assert_array_equal(_plain_dots(0, query, rows, n), expected)


@numba.njit
def _four_dots(query, rows, n, plain):
    out = np.empty(len(rows), np.int32)
    base, step = np.uintp(rows.ctypes.data), np.uintp(n)
    q = np.uintp(query.ctypes.data)
    for i in range(0, len(rows), 4):
        a = np.uintp(base + np.uintp(i) * step)
        b, c = np.uintp(a + step), np.uintp(a + np.uintp(2) * step)
        d = np.uintp(c + step)
        if plain:
            out[i : i + 4] = np.array(byte_dots.dot4_u8_s8_plain(a, b, c, d, q, n))
        else:
            out[i : i + 4] = np.array(byte_dots.dot4_u8_s8(a, b, c, d, q, n))
    return out


@pytest.mark.parametrize("n", [64, 128, 384])
def test_four_dots_at_a_time(n):
    rng = np.random.default_rng(n)
    rows = rng.integers(0, 256, (40, n)).astype(np.uint8)
    query = rng.integers(-127, 128, n).astype(np.int8)
    expected = rows.astype(np.int64) @ query.astype(np.int64)
    for plain in (False, True):
        np.testing.assert_array_equal(_four_dots(query, rows, n, plain), expected)


@numba.njit
def _eight_dots(queries, rows, n, plain, out):
    step = np.uintp(n)
    a = np.uintp(rows.ctypes.data)
    b, c = np.uintp(a + step), np.uintp(a + np.uintp(2) * step)
    d = np.uintp(c + step)
    first = np.uintp(queries.ctypes.data)
    second = np.uintp(first + step)
    if plain:
        out[:] = np.array(byte_dots.dot4x2_u8_s8_plain(a, b, c, d, first, second, n))
    else:
        out[:] = np.array(byte_dots.dot4x2_u8_s8(a, b, c, d, first, second, n))


@pytest.mark.parametrize("n", [64, 128, 384])
@pytest.mark.parametrize("plain", [False, True])
def test_eight_dots_at_a_time(n, plain):
    rng = np.random.default_rng(n)
    rows = rng.integers(0, 256, (4, n)).astype(np.uint8)
    queries = rng.integers(-127, 128, (2, n)).astype(np.int8)
    expected = queries.astype(np.int64) @ rows.astype(np.int64).T
    out = np.empty(8, np.int64)
    _eight_dots(queries, rows, n, plain, out)
    np.testing.assert_array_equal(out, expected.ravel())


@numba.njit
def _exp_all(x):
    out = np.empty_like(x)
    for i in range(len(x)):
        out[i] = exponential.fast_exp(x[i])
    return out


def test_exp_is_accurate_where_it_counts():
    x = np.linspace(-86, 87, 20001).astype(np.float32)
    np.testing.assert_allclose(_exp_all(x), np.exp(x.astype(np.float64)), rtol=4e-7)
    assert _exp_all(np.array([-1e4, -np.inf], np.float32)).max() < 1e-37


def test_the_fast_logarithm_is_close():
    for x in np.concatenate([np.geomspace(1e-30, 1e30, 301), np.linspace(0.5, 2, 301)]):
        value = np.float32(x)
        assert fast_log(value) == pytest.approx(np.log(np.float64(value)), rel=2e-7, abs=1e-7)


@numba.njit
def _halves(bits):
    out = np.empty(len(bits), np.float32)
    for i in range(len(bits)):
        out[i] = intrinsics.half_to_float(bits[i])
    return out


def test_half_floats_are_read_exactly():
    bits = np.arange(1 << 16, dtype=np.uint16)
    expected = bits.view(np.float16).astype(np.float32)
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(_halves(bits[finite]), expected[finite])


def test_rows_dot_is_a_product():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(5000, 33)).astype(np.float32)
    vector = rng.normal(size=33).astype(np.float32)
    np.testing.assert_allclose(
        rows_dot(rows, vector), rows.astype(np.float64) @ vector, rtol=1e-4, atol=1e-4
    )


@given(n=st.integers(0, 50), parts=st.integers(1, 9))
@settings(deadline=None)
def test_ranges_cover_everything_once(n, parts):
    ranges = split_evenly(n, parts)
    assert [i for a, b in ranges for i in range(a, b)] == list(range(n))
    weights = np.random.default_rng(n).integers(0, 5, size=n)
    by_weight = split_by_weight(np.concatenate([[0], np.cumsum(weights)]), parts)
    assert [i for a, b in by_weight for i in range(a, b)] == list(range(n))


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_every_range_is_done_once_before_the_call_returns(n_threads):
    done = np.zeros(200, np.int64)

    def add(part, start, stop):
        assert (start, stop) == (2 * part, 2 * part + 2)
        done[start:stop] += 1

    run_ranges(split_evenly(200, 100), add, n_threads=n_threads)
    assert (done == 1).all()


def test_no_range_is_begun_after_an_error():
    begun = []

    def fail(part, start, stop):
        begun.append(part)
        raise ZeroDivisionError(str(part))

    with pytest.raises(ZeroDivisionError):
        run_ranges(split_evenly(1000, 1000), fail, n_threads=2)
    assert len(begun) <= 2


def test_an_error_in_a_worker_reaches_the_caller():
    def fail(part, start, stop):
        raise ZeroDivisionError(str(part))

    with pytest.raises(ZeroDivisionError):
        run_ranges([(0, 1), (1, 2)], fail, n_threads=2)


def test_what_an_engine_needs_is_imported_without_torch_and_counts_threads():
    code = (
        "import sys; sys.modules['torch'] = None\n"  # importing it is an error
        "import learned_index.kernels.engine.filter, learned_index.kernels.engine.search\n"
        "from learned_index.kernels.machine.parallel import run_rows\n"
        "from learned_index.system.threads import limit_threads, current_threads\n"
        "before = current_threads()\n"
        "seen = []\n"
        "with limit_threads(5):\n"
        "    run_rows(20, lambda a, b: seen.append(b - a))\n"
        "    print(current_threads(), *seen)\n"
        "print(before == current_threads() == 3)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"OMP_NUM_THREADS": "3,1"},
        check=True, text=True, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert done.stdout.split() == ["5", *["4"] * 5, "True"]


def test_scratch_is_kept_for_each_thread_and_purpose() -> None:
    first = zeros("a test", 10, np.float32)
    assert first.dtype == np.float32 and len(first) >= 10 and not first.any()
    assert zeros("a test", 5, np.float32) is first
    assert zeros("another test", 5, np.float32) is not first
    assert len(zeros("a test", 5000, np.float32)) >= 5000
    with ThreadPoolExecutor(1) as pool:
        theirs = pool.submit(zeros, "a test", 5000, np.float32).result()
    assert theirs is not zeros("a test", 5000, np.float32)


@pytest.mark.parametrize("n_threads", [1, 3])
def test_results_of_ranges_come_in_their_order_and_progress_never_falls(n_threads, with_threads):
    ranges, told = split_evenly(50, 12), []
    with with_threads(n_threads):
        found = collect_ranges(ranges, lambda a, b: (a, b), lambda *done: told.append(done))
        assert collect_ranges(ranges, lambda a, b: b - a) == [b - a for a, b in ranges]
    assert found == ranges and len(told) == 12
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1] == (50, 50) and {total for _, total in told} == {50}


def _own_arrays_read_by_address(function: ast.FunctionDef) -> set[str]:
    """Arrays that a function makes itself and takes the address of."""
    made = {
        name.id
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and "np." in ast.unparse(node.value)
        for target in node.targets
        for name in (target.elts if isinstance(target, ast.Tuple) else [target])
        if isinstance(name, ast.Name)
    }
    addressed = {
        ast.unparse(node.value.value)
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute) and ast.unparse(node).endswith(".ctypes.data")
        and isinstance(node.value, ast.Attribute)
    }  # fmt: skip
    return made & addressed


def test_kernels_keep_their_own_arrays_as_long_as_an_address_is_in_use() -> None:
    """Numba frees an array behind the last line that names it; an address is no name."""
    root = Path(keep_until_here.py_func.__code__.co_filename).parents[2]
    n_own = 0
    for path in sorted(root.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            if not any("njit" in ast.unparse(each) for each in function.decorator_list):
                continue
            kept = {
                ast.unparse(node.args[0])
                for node in ast.walk(function)
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "keep_until_here"
            }
            own = _own_arrays_read_by_address(function)
            assert own <= kept, f"{path}: {function.name} may read {own - kept} when it is freed"
            n_own += len(own)
    assert n_own >= 2
