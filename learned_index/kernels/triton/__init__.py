"""The hot operations as Triton kernels, for tensors on CUDA.

The modules here import Triton, so nothing imports them before a CUDA tensor comes along
(:mod:`learned_index.kernels.dispatch`). Sums are never made with float atomics: every result is
written by one program that adds in a fixed order, so equal inputs give equal bits.
"""
