"""Whole batches at once: kernels on *lanes*, written once for NumPy and torch (array API)."""
