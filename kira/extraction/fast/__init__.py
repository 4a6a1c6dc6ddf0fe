"""Compiled kernels with the definitions of SEP, in Numba."""
