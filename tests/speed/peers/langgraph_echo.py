"""The echo conversation as a LangGraph graph: an interrupt is the question."""

from typing import TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt


class State(TypedDict, total=False):
    answer: str
    result: str


def ask(state: State) -> State:
    return {"answer": interrupt("What should I echo?")}


def echo(state: State) -> State:
    return {"result": f"echo: {state['answer']}"}


builder = StateGraph(State)
builder.add_node("ask", ask)
builder.add_node("echo", echo)
builder.add_edge(START, "ask")
builder.add_edge("ask", "echo")
builder.add_edge("echo", END)
graph = builder.compile()
