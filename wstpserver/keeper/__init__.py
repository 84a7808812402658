"""Small programs that hold kernels: they use the standard library alone."""
