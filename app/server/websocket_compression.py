"""Refusal of WebSocket compression on Hypercorn, which offers permessage-deflate and has no setting for it.

Hypercorn 0.18 bounds a message by its size after decompression: 200 KB from a client took 200 MB of memory here. Tokens
are too short to gain from compression.
"""

from hypercorn.protocol import ws_stream


def refuse_websocket_compression() -> None:
    """Have Hypercorn agree to no extension."""
    vars(ws_stream)["server_extensions_handshake"] = lambda requested, supported: None
