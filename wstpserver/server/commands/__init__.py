"""The command language: what carries commands out, and the packets that the server itself writes."""
