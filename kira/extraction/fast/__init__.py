"""SEP's extraction in compiled kernels."""
