"""The program wstpscript: Wolfram Language code, scripts and interactive sessions in a kernel of a server."""
