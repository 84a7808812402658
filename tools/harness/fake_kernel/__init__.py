"""A light kernel for tests and measurements: quick to start, with a tiny language, failing on purpose when told to.

It keeps a codec of its own instead of the product's wire layer: the peer of the code under test is then an
independent witness, and the program needs no installed package (it runs with ``python -S -E``).
"""
