"""Command lines: the server's (``serve``) and the script interpreter's (``script``)."""
