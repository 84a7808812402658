"""One direction of a bridge each: receive, find frames, send on; in C wherever Python need not look."""
