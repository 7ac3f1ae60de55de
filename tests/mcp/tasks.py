"""Tasks (SEP-2663) for the server beside: the tool `bake` becomes one, which asks a person before it is done."""

import itertools
import os
from typing import Any

from mcp.server.extension import Extension, MethodBinding
from pydantic import BaseModel, ConfigDict, Field

NUMBERS = itertools.count(1)
TIMES = {"createdAt": "2026-11-30T00:00:00Z", "lastUpdatedAt": "2026-11-30T00:00:00Z", "ttlMs": 60000, "pollIntervalMs": 150}
QUESTION = {
    "method": "elicitation/create",
    "params": {
        "mode": "form",
        "message": "How brown?",
        "requestedSchema": {"type": "object", "properties": {"brown": {"type": "string"}}, "required": ["brown"]},
    },
}


class TaskParams(BaseModel):
    model_config = ConfigDict(populate_by_name=True, extra="allow")

    task_id: str = Field(alias="taskId")
    input_responses: dict[str, Any] = Field(default_factory=dict, alias="inputResponses")


class Tasks(Extension):
    identifier = "io.modelcontextprotocol/tasks"

    def __init__(self, note):
        self.note = note
        self.looks: dict[str, int] = {}
        self.answers: dict[str, Any] = {}

    def methods(self):
        return [
            MethodBinding("tasks/get", TaskParams, self.get),
            MethodBinding("tasks/update", TaskParams, self.update),
        ]

    def tools(self):
        from mcp.server.extension import ToolBinding

        return [ToolBinding(self.bake)]

    def bake(self, cake: str) -> str:
        """Bakes a cake, which takes a while."""
        return cake

    async def intercept_tool_call(self, params, ctx, call_next):
        if params.name != "bake":
            return await call_next(ctx)
        self.note("begun")
        task = f"task-{next(NUMBERS)}"
        self.looks[task] = 0
        return {"resultType": "task", "taskId": task, "status": "working", **TIMES}

    async def get(self, ctx, params: TaskParams):
        task = params.task_id
        if task not in self.looks:
            from mcp.shared.exceptions import MCPError

            raise MCPError(-32602, "there is no such task")
        self.looks[task] += 1
        self.note("looked")
        state = {"taskId": task, "resultType": "complete", **TIMES}
        # Where somebody says so, it bakes until a file is there.
        oven = os.environ.get("MCP_OVEN")
        if self.looks[task] == 1 or (oven and not os.path.exists(oven)):
            return {**state, "status": "working"}
        answer = self.answers.get(task)
        if answer is None:
            return {**state, "status": "input_required", "inputRequests": {"brown": QUESTION}}
        if answer["action"] != "accept":
            return {**state, "status": "failed", "error": {"code": -32000, "message": f"nobody baked: {answer['action']}"}}
        text = f"a {answer['content']['brown']} cake"
        return {**state, "status": "completed", "result": {"content": [{"type": "text", "text": text}], "isError": False}}

    async def update(self, ctx, params: TaskParams):
        self.answers[params.task_id] = params.input_responses["brown"]
        return {"resultType": "complete"}
