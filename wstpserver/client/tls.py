"""TLS on the connections of a link. Apart from `transport`, since it takes a while to import and few links need it."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from typing import Final

from wstpserver.client.deadline import Deadline
from wstpserver.client.errors import ConnectError, LinkClosed, LinkTimeout
from wstpserver.client.transport import LARGEST_RECEIVE, Connection


class TlsConnection(Connection):
    """One TCP connection with TLS. What is said of `Connection` holds for it as well.

    Args:
        sock: As for `Connection`.
        where: As for `Connection`.
        host: The host that the peer's certificate must be for.
        context: How certificates are checked; None as `ssl.create_default_context` does.
    """

    def __init__(self, sock: socket.socket, where: str, host: str, context: ssl.SSLContext | None = None) -> None:
        super().__init__(sock, where)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = context or ssl.create_default_context()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._decrypted = bytearray()
        #: One thread may receive while another sends, and TLS is one state for both.
        self._using = threading.Lock()

    @property
    def _holds_data(self) -> bool:
        return bool(self._decrypted)

    def shake_hands(self, deadline: Deadline) -> None:
        """Agree on keys, and check the peer's certificate.

        Raises:
            ConnectError: The certificate is not accepted, or the peer does not speak TLS.
            LinkTimeout: The deadline came first.
            LinkClosed: The peer has closed the connection.
        """
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLCertVerificationError as error:
                self._send_encrypted(deadline)  # the peer is told why
                text = f"the server's certificate is not accepted: {error.verify_message}"
                raise ConnectError(text, self._where, _CERTIFICATE) from error
            except ssl.SSLError as error:
                text = f"the other side does not speak TLS ({error.reason or error})"
                raise ConnectError(text, self._where, _NO_TLS) from error
            else:
                self._send_encrypted(deadline)
                return
            self._send_encrypted(deadline)
            if not self.wait_readable(deadline):
                raise LinkTimeout(f"connected, but no TLS {deadline}", self._where, _NO_TLS)
            data = self._receive(None)
            if data == b"":
                raise ConnectError("the other side closed the connection before TLS began", self._where, _NO_TLS)
            self._incoming.write(data or b"")

    def _send_encrypted(self, deadline: Deadline) -> None:
        super().send(self._outgoing.read(), deadline)

    def receive_now(self, at_most: int | None = None) -> bytes | None:
        """As `Connection.receive_now`."""
        if self._ended:
            return b""
        with self._using:
            ended = not self._decrypted and self._decrypt()
            data = bytes(self._decrypted[:at_most])
            del self._decrypted[:at_most]
        if data:
            # the end of what came together with these bytes is seen by the next call
            return data
        self._ended = ended
        return b"" if ended else None

    def _decrypt(self) -> bool:
        """Receive, and decrypt what that completes; whether the stream has ended."""
        data = self._receive(None)
        if data is None and not self._incoming.pending:
            return False
        if data:
            self._incoming.write(data)
        try:
            while part := self._tls.read(LARGEST_RECEIVE):
                self._decrypted += part
        except ssl.SSLWantReadError:
            return data == b""
        except ssl.SSLZeroReturnError:
            pass
        except ssl.SSLError as error:
            self.end_reason = f"TLS failed: {error.reason or error}"
        return True

    def send(
        self,
        data: bytes | bytearray | memoryview,
        deadline: Deadline,
        on_readable: Callable[[], bool] | None = None,
    ) -> int:
        """As `Connection.send`; what is left over is counted as encrypted."""
        with self._using:
            try:
                if data:
                    self._tls.write(data)
                encrypted = self._outgoing.read()
            except ssl.SSLError as error:
                raise LinkClosed(f"TLS failed: {error.reason or error}", self._where) from error
        return super().send(encrypted, deadline, on_readable)

    def finish_sending(self) -> None:
        """As `Connection.finish_sending`; the peer is told within TLS as well, so that it knows that nothing is cut."""
        with self._using:
            try:
                self._tls.unwrap()
            except (ssl.SSLError, OSError):
                pass  # it has not said the same yet
            encrypted = self._outgoing.read()
        if not self._unsent:
            try:
                self._socket.send(encrypted)
            except OSError:
                pass  # the connection is gone, or takes nothing
        super().finish_sending()


_CERTIFICATE: Final = (
    "If you have signed it yourself, set SSL_CERT_FILE to a file that holds it; the address must name the host as the "
    "certificate does"
)
_NO_TLS: Final = "Check the port; an address without TLS begins with wstp://"
