"""Slow twins of the C code, in double precision: NumPy, and PyTorch for gradients."""
