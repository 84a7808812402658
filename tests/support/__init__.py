"""What the tests share: test kernels, a server process, raw links, checks for leaks."""
