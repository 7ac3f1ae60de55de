"""A server on fastmcp 4.2.3, for tests/it/mcp.rs: fast.py stdio."""

from dataclasses import dataclass

from fastmcp import FastMCP
from fastmcp.exceptions import ToolError

server = FastMCP("fast")


@dataclass
class Place:
    city: str
    degrees: float


@server.tool(annotations={"idempotentHint": True})
def weather(city: str) -> Place:
    """The weather in a city."""
    return Place(city=city, degrees=21.5)


@server.tool
def refuse() -> str:
    """Refuses."""
    raise ToolError("not on Sundays")


server.run("stdio", show_banner=False)
