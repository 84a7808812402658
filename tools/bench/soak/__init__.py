"""Hours of mixed load, and whether the server stays as small as it was."""
