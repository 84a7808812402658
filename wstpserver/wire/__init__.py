"""The WSTP wire protocol, without any input or output: bytes in, values out, and the way back."""
