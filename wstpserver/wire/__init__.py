"""The WSTP wire protocol, without any input or output: bytes in, values out, and the way back.

docs/wire-protocol.md describes it; the modules cite its sections.

    greeting          the handshake that opens a link, for both roles
    values            what expressions are made of (scalars, packed)
    encode, decode    expressions to bytes and back
    packet_builders   the packets as expressions; packets: their names
    frames            where packets begin and end in a stream that is passed on undecoded
    messages          interrupt, abort and the others of the message connection
    errors            what all of them raise
"""
