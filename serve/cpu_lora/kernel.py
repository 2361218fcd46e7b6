"""One compiled loop for a step of few rows, where a matrix product costs more to call than to do.

It must not know of vLLM or of torch: it takes numpy arrays, bfloat16 as its bits in uint16.

A oneDNN product of bfloat16 costs some 15 microseconds before it multiplies anything, and a decode
step needs hundreds. Compiled by numba, which vLLM itself requires, this is one call for each layer.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

BLOCK = 192
"""Output columns done at a time: a slot's B for them, in float32, stays in the L1 cache."""

WORD = ir.IntType(32)

# In every loop below a row is taken as a view first: numba tests an index that is a sum for being
# negative. A loop with that test, or with an index read from an array, is not vectorised.
# Sums may be reordered, which vectorises them. NaN and infinities keep their meaning.
FASTMATH = {"reassoc", "contract"}


# Written in LLVM's terms because numba computes integers in 64 bits, which halves the vectors.
def _widening(_context: Any, value: types.Type) -> Any:
    """The float32 of a stored number."""

    def generate(_c: Any, builder: ir.IRBuilder, _s: Any, arguments: Any) -> Any:
        if value != types.uint16:
            return arguments[0]
        bits = builder.shl(builder.zext(arguments[0], WORD), ir.Constant(WORD, 16))
        return builder.bitcast(bits, ir.FloatType())

    return types.float32(value), generate


def _narrowing(_context: Any, value: types.Type, like: types.Type) -> Any:
    """A float32 as it is stored, in the type of `like`: bfloat16 rounds to nearest even."""

    def generate(_c: Any, builder: ir.IRBuilder, _s: Any, arguments: Any) -> Any:
        if like != types.uint16:
            return arguments[0]
        half = ir.Constant(WORD, 16)
        bits = builder.bitcast(arguments[0], WORD)
        odd = builder.and_(builder.lshr(bits, half), ir.Constant(WORD, 1))
        rounded = builder.add(builder.add(bits, ir.Constant(WORD, 0x7FFF)), odd)
        return builder.trunc(builder.lshr(rounded, half), ir.IntType(16))

    return like(value, like), generate


_widen: Any = intrinsic(_widening)
_narrow: Any = intrinsic(_narrowing)


@njit(fastmath=FASTMATH, error_model="numpy")
def _shrink(a, first, rank, inputs, start, stop, weights, hidden, live):
    """hidden[i, n] = A's n-th row that is not all zero, times input i; returns how many.

    An adapter of a rank below the engine's, or without this layer, leaves rows of A zero. They are
    looked for each time, so that nothing can be out of date after a slot is loaded again.
    """
    width = inputs.shape[1]
    found = 0
    for k in range(rank):
        empty = True
        source = a[first + k]
        for c in range(width):
            weights[c] = _widen(source[c])
            empty &= weights[c] == np.float32(0)
        if empty:
            continue
        for i in range(start, stop):
            total = np.float32(0)
            row = inputs[i]
            for c in range(width):
                total += weights[c] * row[c]
            hidden[i, found] = total
        live[found] = k
        found += 1
    return found


@njit(fastmath=FASTMATH, error_model="numpy", inline="always")
def _accumulate(total, hidden, i, count, matrix, columns):
    """total += hidden[i] @ matrix, eight rows of the matrix at a time to spare loads of total."""
    k = 0
    while k + 8 <= count:
        h0, h1, h2, h3 = hidden[i, k], hidden[i, k + 1], hidden[i, k + 2], hidden[i, k + 3]
        h4, h5, h6, h7 = hidden[i, k + 4], hidden[i, k + 5], hidden[i, k + 6], hidden[i, k + 7]
        for c in range(columns):
            total[c] += (
                h0 * matrix[k, c]
                + h1 * matrix[k + 1, c]
                + h2 * matrix[k + 2, c]
                + h3 * matrix[k + 3, c]
                + h4 * matrix[k + 4, c]
                + h5 * matrix[k + 5, c]
                + h6 * matrix[k + 6, c]
                + h7 * matrix[k + 7, c]
            )
        k += 8
    while k < count:
        h0 = hidden[i, k]
        for c in range(columns):
            total[c] += h0 * matrix[k, c]
        k += 1


@njit(fastmath=FASTMATH, error_model="numpy")
def _expand(y, rows, start, stop, hidden, live, count, b, begin, end, matrix, total):
    """y[rows, begin:end] += hidden @ the live rows of B, with one rounding."""
    for first in range(begin, end, BLOCK):
        last = min(first + BLOCK, end)
        for k in range(count):
            source = b[live[k]][first:last]
            for c in range(len(source)):
                matrix[k, c] = _widen(source[c])
        for i in range(start, stop):
            target = y[rows[i]][first:last]
            for c in range(len(target)):
                total[c] = _widen(target[c])
            _accumulate(total, hidden, i, count, matrix, len(target))
            for c in range(len(target)):
                target[c] = _narrow(total[c], target[c])


def _add_rows(y, x, a, b, slots, starts, rows, offsets, scale):
    rank = b.shape[1]
    inputs = np.empty((len(rows), x.shape[1]), np.float32)
    hidden = np.empty((len(rows), rank), np.float32)
    weights = np.empty(x.shape[1], np.float32)
    matrix = np.empty((rank, BLOCK), np.float32)
    total = np.empty(BLOCK, np.float32)
    live = np.empty(rank, np.int64)
    for i in range(len(rows)):
        source = x[rows[i]]
        for c in range(len(source)):
            inputs[i, c] = _widen(source[c]) * scale
    for group in range(len(slots)):
        slot, start, stop = slots[group], starts[group], starts[group + 1]
        for s in range(len(offsets) - 1):
            count = _shrink(a[slot], s * rank, rank, inputs, start, stop, weights, hidden, live)
            if count:
                _expand(
                    y,
                    rows,
                    start,
                    stop,
                    hidden,
                    live,
                    count,
                    b[slot],
                    offsets[s],
                    offsets[s + 1],
                    matrix,
                    total,
                )


def _signature(number: types.Type) -> Any:
    matrix, stacked = types.Array(number, 2, "C"), types.Array(number, 3, "C")
    indices = types.Array(types.int64, 1, "C")
    return types.void(matrix, matrix, stacked, stacked, indices, indices, indices, indices, types.float32)


def compiled(function: Any, signatures: list[Any]) -> Any:
    """Compile a function for these signatures, or load what an earlier process compiled.

    numba keeps its results where Python keeps those of this module, or in the user's cache; an entry for other
    source, another numba or another processor is not used. Where nothing can be written, each process compiles.
    """
    options: dict[str, Any] = {"fastmath": FASTMATH, "error_model": "numpy"}
    try:
        return njit(signatures, cache=True, **options)(function)
    except (RuntimeError, OSError):
        return njit(signatures, **options)(function)


# At the import, not at the first call, so that no request waits: 5 s once, then a tenth of that.
add_rows: Any = compiled(_add_rows, [_signature(types.uint16), _signature(types.float32)])
"""y[rows] += x[rows] @ A[slot] @ B[slot] * scale, in place, each row with its own slot.

Args, all C-contiguous:
    y: [step, columns or more]; x: [step, width]: uint16 for bfloat16, or float32.
    a: [slots, slices * rank, width]; b: [slots, rank, columns], of the same type.
    slots: the slots in use [groups]; rows: their rows of the step, group after group.
    starts: [groups + 1], where each group begins in `rows`.
    offsets: [slices + 1], where each slice's columns begin.
    scale: float32.
"""
