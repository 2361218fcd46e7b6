"""HTTP/1.1 of clients, with two cases that uvicorn's parser treats in a way that loses or adds data.

Java's HttpClient asks to change to HTTP/2 with each request (`Upgrade: h2c`), and the parser then drops the body. The
request is read as if it had not asked. Headers after a chunked body, which are trailers, must not become headers:
proxies do not check them.
"""

from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Headers that belong to the offer of another protocol.
OF_AN_UPGRADE = frozenset((b"upgrade", b"connection", b"http2-settings"))


class ClientProtocol(HttpToolsProtocol):
    """One connection of a client."""

    def data_received(self, data: bytes) -> None:
        """asyncio's: bytes came."""
        try:
            self._unset_keepalive_if_required()
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            head = self._head_without_upgrade()
            self.parser = httptools.HttpRequestParser(self)
            self.data_received(head + data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self.logger.warning("Invalid HTTP request received.")
            self.send_400_response("Invalid HTTP request received.")

    def on_headers_complete(self) -> None:
        """httptools': the head is whole. One that asks for another protocol is read again without that."""
        if not self.parser.should_upgrade():
            super().on_headers_complete()
            self.headers = []  # the request has the list of before; trailers go here, and nobody reads them

    def on_message_complete(self) -> None:
        """httptools': the request is whole."""
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def _head_without_upgrade(self) -> bytes:
        lines = [b"%b %b HTTP/1.1" % (self.parser.get_method(), self.url)]
        lines += [b"%b: %b" % (name, value) for name, value in self.headers if name not in OF_AN_UPGRADE]
        return b"\r\n".join([*lines, b"", b""])

    def _should_upgrade_to_ws(self, *_: Any) -> bool:
        return False
