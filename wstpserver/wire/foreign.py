"""What bytes that are no WSTP link look like, for the message of the error."""
from __future__ import annotations

_HTTP_METHODS = ("GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE")

#: How the conversations of others begin. No link begins with any of these.
SIGNATURES: dict[bytes, str] = {
    **{method.encode() + b" ": "an HTTP request" for method in _HTTP_METHODS},
    b"PRI * HTTP/2": "an HTTP/2 connection",
    b"HTTP/": "an HTTP response",
    b"<html": "an HTML page",
    b"<!DOCTYPE": "an HTML page",
    b"\x16\x03": "a TLS hello",
    b"\x15\x03": "a TLS alert",
    b"SSH-": "an SSH banner",
    b"PROXY ": "a PROXY protocol header",
    b"\r\n\r\n\x00\r\nQUIT\n": "a PROXY protocol header",
    b"220 ": "the banner of a mail or FTP server",
    b"Math Link ": "a greeting of the link protocol without the line that comes before it in TCPIP links",
}


def looks_like(data: bytes) -> str | None:
    """What conversation begins with `data`, if it is one of those in SIGNATURES."""
    for signature, name in SIGNATURES.items():
        if data.startswith(signature):
            return name
    return None


def may_become_known(data: bytes) -> bool:
    """Whether `data` is the beginning of a signature: with a few more bytes there will be a name for it."""
    return any(len(data) < len(signature) and signature.startswith(data) for signature in SIGNATURES)


def describe(data: bytes) -> str:
    """For an error message: what `data`, the first bytes of a connection, are."""
    known = looks_like(data)
    if known is not None:
        return known
    shown = repr(bytes(data[:40])) + ("..." if len(data) > 40 else "")
    return f"{len(data)} byte{'s' if len(data) != 1 else ''} that are no WSTP greeting: {shown}"
