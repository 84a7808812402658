"""The version, in a module without imports so that the build can read it."""

VERSION = "0.1.0"
