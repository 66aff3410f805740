"""A server of the protocol's version 2026-07-28: the SDK's own, with a tool that adds another one."""

from mcp.server import MCPServer
from mcp.server.mcpserver import Context

server = MCPServer("modern")


@server.tool()
async def grow(name: str, context: Context) -> str:
    """Add a tool."""

    def answer() -> str:
        return f"I am {name}"

    server.add_tool(answer, name=name)
    await context.notify_tools_changed()
    return "grown"


if __name__ == "__main__":
    server.run()
