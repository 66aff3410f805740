"""An MCP server with one tool, which takes its time: `python -m bench.waiting_tool`."""

import asyncio

from mcp.server import MCPServer

server = MCPServer("waiting")


@server.tool()
async def wait(milliseconds: int, step: int) -> str:
    """Wait."""
    await asyncio.sleep(milliseconds / 1000)
    return f"{step}: waited"


if __name__ == "__main__":
    server.run()
