"""The tools that tests/it/mcp.rs calls, on the Python SDK 2.3.0 and 1.28.1: server.py stdio, or server.py http PORT."""

import asyncio
import os
import subprocess
import sys
from typing import Annotated

from pydantic import BaseModel, Field

try:
    from mcp.server.mcpserver import Context, MCPServer
    from mcp.server.mcpserver.exceptions import ToolError

    IS_OLD = False
except ImportError:
    from mcp.server.fastmcp import Context
    from mcp.server.fastmcp import FastMCP as MCPServer
    from mcp.server.fastmcp.exceptions import ToolError

    IS_OLD = True

from mcp.types import ToolAnnotations


class Size(BaseModel):
    """What a person fills in."""

    size: int = Field(title="Size", ge=1, le=50)
    gift: bool = False


class Sum(BaseModel):
    total: int


def write_down(what: str):
    """Writes down what was done, and by which process, where somebody counts."""
    if path := os.environ.get("MCP_NOTES"):
        with open(path, "a") as notes:
            notes.write(f"{what} {os.getpid()}\n")


def extensions():
    if IS_OLD:
        return {}
    from tasks import Tasks

    return {"extensions": [Tasks(write_down)]}


settings = {"host": "127.0.0.1", "port": int(sys.argv[2])} if IS_OLD and sys.argv[1] == "http" else {}
server = MCPServer("test", **settings, **extensions())


@server.tool(annotations=ToolAnnotations(readOnlyHint=True))
def echo(text: str) -> str:
    """Says it again."""
    print(f"echo of {text}", file=sys.stderr, flush=True)
    return text


@server.tool(structured_output=True)
def add(a: int, b: int) -> Sum:
    """Adds two numbers."""
    return Sum(total=a + b)


@server.tool()
def fail() -> str:
    """Fails."""
    raise ToolError("out of paper")


@server.tool(structured_output=False)
async def slow(steps: int, ctx: Context) -> str:
    """Takes a quarter of a second for each step, and says so."""
    for step in range(steps):
        await asyncio.sleep(0.25)
        await ctx.report_progress(step + 1, steps)
    return "done"


@server.tool(structured_output=False)
async def quiet(seconds: float) -> str:
    """Takes so long, and says nothing."""
    await asyncio.sleep(seconds)
    return "done"


@server.tool(structured_output=False)
async def note(begun: str, path: str, until: str) -> str:
    """Writes a file as soon as another one is there."""
    open(begun, "w").close()
    while not os.path.exists(until):
        await asyncio.sleep(0.02)
    open(path, "w").close()
    return "written"


@server.tool(structured_output=False)
def environment() -> str:
    """The names of the variables of the environment."""
    return " ".join(sorted(os.environ))


@server.tool(structured_output=False)
def grandchild(path: str) -> str:
    """Starts a program that does not end, and writes its number into a file."""
    child = subprocess.Popen(["sleep", "1000"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    with open(path, "w") as file:
        file.write(f"{os.getpid()} {child.pid}")
    return "started"


@server.tool(structured_output=False)
def die() -> str:
    """Ends the server."""
    os._exit(3)


@server.tool(structured_output=False)
def long(count: int) -> str:
    """A long text."""
    return "x" * count


if IS_OLD:

    @server.tool(structured_output=False)
    async def order(item: str, ctx: Context) -> str:
        """Orders something; a person says which size."""
        write_down("begun")
        answer = await ctx.elicit(f"Which size of {item}?", Size)
        if answer.action != "accept":
            return f"{answer.action}: no {item}"
        write_down("ordered")
        return f"{item} in size {answer.data.size}"

    @server.tool(structured_output=False)
    async def tailor(item: str, ctx: Context) -> str:
        """Makes something to measure: a person says which size, and then it takes very long, and says so."""
        await ctx.elicit(f"Which size of {item}?", Size)
        return await slow(1000, ctx)

else:
    from mcp.server.elicitation import AcceptedElicitation, ElicitationResult
    from mcp.server.mcpserver import Elicit, Resolve

    def which_size(item: str) -> Elicit[Size]:
        write_down("asked")
        return Elicit(f"Which size of {item}?", Size)

    @server.tool(structured_output=False)
    async def order(item: str, answer: Annotated[ElicitationResult[Size], Resolve(which_size)]) -> str:
        """Orders something; a person says which size."""
        if not isinstance(answer, AcceptedElicitation):
            return f"{answer.action}: no {item}"
        write_down("ordered")
        return f"{item} in size {answer.data.size}"


if sys.argv[1] == "stdio":
    server.run("stdio")
elif IS_OLD:
    server.run("streamable-http")
else:
    server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[2]))
