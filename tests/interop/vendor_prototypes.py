"""The functions of the vendor's library that `vendor` uses, with their types, and its constants."""

import ctypes
from ctypes import POINTER, c_char_p, c_double, c_int, c_int64, c_ubyte, c_ushort, c_void_p
from typing import Any

TOKEN_FUNCTION, TOKEN_SYMBOL, TOKEN_STRING = ord("F"), ord("#"), ord('"')
TOKEN_INTEGER, TOKEN_REAL, TOKEN_ERROR = ord("+"), ord("*"), 0

#: Packet numbers as NextPacket returns them.
PACKETS = {
    "InputPacket": 1, "TextPacket": 2, "ReturnPacket": 3, "ReturnTextPacket": 4, "MessagePacket": 5,
    "MenuPacket": 6, "CallPacket": 7, "InputNamePacket": 8, "OutputNamePacket": 9, "SyntaxPacket": 10,
    "DisplayPacket": 11, "DisplayEndPacket": 12, "EvaluatePacket": 13, "EnterTextPacket": 14,
    "EnterExpressionPacket": 15, "ReturnExpressionPacket": 16, "SuspendPacket": 17, "ResumePacket": 18,
    "BeginDialogPacket": 19, "EndDialogPacket": 20, "InputStringPacket": 21,
}  # fmt: skip

YIELD = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p)
NEW_LINK = ctypes.CFUNCTYPE(None, c_void_p, c_void_p)
HANDLER = ctypes.CFUNCTYPE(None, c_void_p, c_int, c_int)
BYTES = POINTER(c_ubyte)

#: Result and argument types of the functions used, by name without the WS or ML.
PROTOTYPES: dict[str, tuple[Any, list[Any]]] = {
    "Initialize": (c_void_p, [c_void_p]),
    "Deinitialize": (None, [c_void_p]),
    "OpenString": (c_void_p, [c_void_p, c_char_p, POINTER(c_int)]),
    "OpenArgcArgv": (c_void_p, [c_void_p, c_int, POINTER(c_char_p), POINTER(c_int)]),
    "Activate": (c_int, [c_void_p]),
    "Close": (None, [c_void_p]),
    "LinkName": (c_void_p, [c_void_p]),
    "Ready": (c_int, [c_void_p]),
    "Flush": (c_int, [c_void_p]),
    "Error": (c_int, [c_void_p]),
    "ErrorMessage": (c_void_p, [c_void_p]),
    "ClearError": (c_int, [c_void_p]),
    "SetYieldFunction": (c_int, [c_void_p, YIELD]),
    "SetMessageHandler": (c_int, [c_void_p, HANDLER]),
    "PutMessage": (c_int, [c_void_p, c_int]),
    "PutMessageWithArg": (c_int, [c_void_p, c_int, c_int]),
    "GetMessage": (c_int, [c_void_p, POINTER(c_int), POINTER(c_int)]),
    "MessageReady": (c_int, [c_void_p]),
    "NewLinkServerWithPortAndInterface": (c_void_p, [c_void_p, c_ushort, c_char_p, c_void_p, POINTER(c_int)]),
    "RegisterCallbackFunctionWithLinkServer": (None, [c_void_p, NEW_LINK]),
    "PortFromLinkServer": (c_ushort, [c_void_p, POINTER(c_int)]),
    "ShutdownLinkServer": (None, [c_void_p]),
    "NextPacket": (c_int, [c_void_p]),
    "NewPacket": (c_int, [c_void_p]),
    "EndPacket": (c_int, [c_void_p]),
    "PutType": (c_int, [c_void_p, c_int]),
    "PutArgCount": (c_int, [c_void_p, c_int]),
    "PutFunction": (c_int, [c_void_p, c_char_p, c_int]),
    "PutUTF8Symbol": (c_int, [c_void_p, c_char_p, c_int]),
    "PutUTF8String": (c_int, [c_void_p, c_char_p, c_int]),
    "PutInteger32": (c_int, [c_void_p, c_int]),
    "PutInteger64": (c_int, [c_void_p, c_int64]),
    "PutReal64": (c_int, [c_void_p, c_double]),
    "PutReal64List": (c_int, [c_void_p, POINTER(c_double), c_int]),
    "GetNext": (c_int, [c_void_p]),
    "GetArgCount": (c_int, [c_void_p, POINTER(c_int)]),
    "GetInteger64": (c_int, [c_void_p, POINTER(c_int64)]),
    "GetReal64": (c_int, [c_void_p, POINTER(c_double)]),
    "GetUTF8String": (c_int, [c_void_p, POINTER(BYTES), POINTER(c_int), POINTER(c_int)]),
    "ReleaseUTF8String": (None, [c_void_p, BYTES, c_int]),
    "GetUTF8Symbol": (c_int, [c_void_p, POINTER(BYTES), POINTER(c_int), POINTER(c_int)]),
    "ReleaseUTF8Symbol": (None, [c_void_p, BYTES, c_int]),
    "GetReal64List": (c_int, [c_void_p, POINTER(POINTER(c_double)), POINTER(c_int)]),
    "ReleaseReal64List": (None, [c_void_p, POINTER(c_double), c_int]),
    "GetNumberAsString": (c_int, [c_void_p, POINTER(c_void_p)]),
    "ReleaseString": (None, [c_void_p, c_void_p]),
}


class VendorError(Exception):
    """The vendor's library reported an error; ``code`` is its number (11: link closed)."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code
