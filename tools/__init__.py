"""Programs for those who develop or measure the server; run them from a checkout: python -m tools.NAME."""
