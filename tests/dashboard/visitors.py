"""Visitors without a browser: what a page's script sends over its connection, and how long it takes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets import Subprotocol
from websockets.sync.client import ClientConnection, connect

PATIENCE_S = 60.0


@contextmanager
def visitor(address: str) -> "Iterator[Visitor]":
    """A new session at a served dashboard; it ends with the block."""
    url = address.replace("http://", "ws://") + "/_stcore/stream"
    protocols = [Subprotocol("streamlit")]
    with connect(url, subprotocols=protocols, max_size=None, open_timeout=PATIENCE_S) as connection:
        yield Visitor(connection)


@dataclass
class Visitor:
    """One session."""

    connection: ClientConnection

    def visit(self, page: str = "", query: str = "") -> tuple[str, float]:
        """Open a page: all HTML that it says, and the seconds until its script is through."""
        message = BackMsg()
        message.rerun_script.query_string = query
        message.rerun_script.page_name = page
        started = time.perf_counter()
        self.connection.send(message.SerializeToString())
        said = []
        while True:
            received = ForwardMsg()
            received.ParseFromString(bytes(self.connection.recv(timeout=PATIENCE_S)))
            if received.WhichOneof("type") == "delta":
                element = received.delta.new_element
                if element.WhichOneof("type") == "html":
                    said.append(element.html.body)
            if received.WhichOneof("type") == "script_finished":
                return "\n".join(said), time.perf_counter() - started
