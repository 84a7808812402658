"""The server: everything that uses gevent lives in this package, and nowhere else."""
