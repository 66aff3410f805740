"""An MCP server over stdio that misbehaves as its first argument says; for other words it is the SDK's own server."""

import json
import os
import sys
import time

STYLE = sys.argv[1]


def say(message: object) -> None:
    sys.stdout.write(message if isinstance(message, str) else json.dumps(message))
    sys.stdout.write("\n")
    sys.stdout.flush()


def answer(request: dict[str, object]) -> None:
    """Answer as servers before 2026 do, which know nothing of `server/discover`."""
    head = {"jsonrpc": "2.0", "id": request.get("id")}
    match request.get("method"):
        case "initialize":
            capabilities: dict[str, object] = {"tools": {}}
            info = {"name": "stubborn", "version": "1"}
            result: object = {"protocolVersion": "2024-11-05", "capabilities": capabilities, "serverInfo": info}
        case "tools/list":
            result = {"tools": [{"name": "pid", "inputSchema": {"type": "object"}}]}
        case "tools/call":
            result = {"content": [{"type": "text", "text": str(os.getpid())}]}
        case "server/discover" if STYLE == "silent":
            return
        case _:
            say({**head, "error": {"code": -32601, "message": "Method not found"}})
            return
    say({**head, "result": result})


def main() -> None:
    if STYLE == "hang":
        time.sleep(600)
    for line in sys.stdin:
        if STYLE == "noise":
            say("Starting up ...\n{\n[]\n\xff")
            sys.stderr.write("x" * 200_000)
        request = json.loads(line)
        if "id" in request:
            answer(request)
    if STYLE == "deaf":
        time.sleep(600)


if __name__ == "__main__":
    main()
