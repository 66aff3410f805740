"""Tools of MCP servers. The SDK `mcp` is imported when the first server is configured: it takes seconds and 60 MB."""
