"""The WSTP wire protocol, without any input or output: bytes in, values out, and the way back.

docs/wire-protocol.md describes it; the modules cite its sections. Each imports only what stands above it, but for the
last three, which do without the values.

    errors            what all of them raise
    tokens            the bytes that introduce things, sizes, machine numbers, limits
    text, numbers     text and numbers on the wire
    packed, values    what expressions are made of
    decode, encode    bytes to expressions and back
    preview           a short text for the beginning of an expression
    packets           the packets by the names of their heads
    completion        how a frame that broke off is made complete
    frames            where frames begin and end in a stream that is passed on undecoded
    messages          interrupt, abort and the others of the message connection
    handshake         the greeting that opens a link, for both roles
    pairing           the two connections of a link, from accepted to open
"""
