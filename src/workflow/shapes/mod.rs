//! What a workflow's file may hold, as tables: the reader knows no other keys, and the JSON Schema for editors is made of them.

use serde_json::Value;

use crate::yaml::shape::{MapShape, REQUEST_PARAMETERS, ShapeKey, ValueKind, may, must};

pub mod talks;

use talks::{CHAT, GROUP, GROUP_CHAT, HANDOFFS, NESTED_CHATS, QUEUED_CHAT};

/// The JSON Schema of `workflows/*.yaml`.
pub fn json_schema() -> Value {
    WORKFLOW.json_schema("https://fastagency.dev/schemas/workflow.json", "A workflow of fastagency", false)
}

static ONE_STEP: ValueKind = ValueKind::Shape(&STEP);
static STEPS_OF_BRANCH: ValueKind = ValueKind::List(&ONE_STEP);
const TEXTS: ValueKind = ValueKind::List(&ValueKind::Template);
const TOOL_NAMES: ValueKind = ValueKind::List(&ValueKind::Text);
const NAMES: ValueKind = ValueKind::List(&ValueKind::Name);

pub static WORKFLOW: MapShape = MapShape {
    name: "workflow",
    about: "One workflow: who takes part, and what is done.",
    keys: &[
        must("version", ValueKind::Only(1), "The version of the language: 1."),
        must("name", ValueKind::Name, "The key that clients start it by."),
        may("title", ValueKind::Text, "What people see instead of the name."),
        may("description", ValueKind::Text, "What it is for, in a sentence."),
        may("params", ValueKind::Schema, "The JSON Schema of its parameters; defaults are filled in."),
        may("vars", ValueKind::Map(&ValueKind::Any), "The variables that `set` may set, with their first values."),
        may("limits", ValueKind::Shape(&LIMITS), "What a run may use up before it is ended."),
        may("agents", ValueKind::Map(&ValueKind::Shape(&AGENT)), "The agents by name."),
        may("tools", ValueKind::Map(&ValueKind::Shape(&TOOL)), "The tools by name."),
        must("steps", ValueKind::Some(&ValueKind::Shape(&STEP)), "What is done, in order."),
    ],
    shared: &[],
};

pub static LIMITS: MapShape = MapShape {
    name: "limits",
    about: "What a run may use up before it is ended with a reason.",
    keys: &[
        may("llm_calls", ValueKind::Whole(1), "Requests to models (default: 10000)."),
        may("tool_calls", ValueKind::Whole(1), "Calls of tools."),
        may("tokens", ValueKind::Whole(1), "Tokens, prompt and completion together."),
        may("cost_usd", ValueKind::Number, "Money, in US dollars, by the price table of the configuration."),
        may("duration", ValueKind::Duration, "Time at work, waiting for people left out."),
        may("records", ValueKind::Whole(10), "Records of the run's log (default: 100000)."),
        may("steps", ValueKind::Whole(1), "Steps; those of a loop count each time (default: 1000000)."),
        may(
            "repeated_calls",
            ValueKind::Whole(2),
            "How often a conversation may make the same call with the same result, or the same request to a model, with nothing new in between (default: 20).",
        ),
    ],
    shared: &[],
};

pub static AGENT: MapShape = MapShape {
    name: "agent",
    about: "An agent, with the meaning and the defaults of AG2's classes.",
    keys: &[
        may(
            "kind",
            ValueKind::OneOf(&["conversable", "assistant", "user_proxy"]),
            "AG2's class; the classes differ in defaults only.",
        ),
        may("system_message", ValueKind::Text, "The first message in each request to its model."),
        may("description", ValueKind::Text, "What it is for; other agents may read it."),
        may(
            "llm",
            ValueKind::Either(&[ValueKind::Name, ValueKind::False]),
            "A name in `llms:`, or false for no model (default: `default`).",
        ),
        may(
            "human_input_mode",
            ValueKind::OneOf(&["NEVER", "TERMINATE", "ALWAYS"]),
            "When it asks a person before it replies.",
        ),
        ANSWERER_KEYS[0],
        ANSWERER_KEYS[1],
        ANSWERER_KEYS[2],
        ANSWERER_KEYS[3],
        may("max_consecutive_auto_reply", ValueKind::Whole(0), "How many replies it may give by itself (default 100)."),
        may("default_auto_reply", ValueKind::Text, "What it says if nothing else gives a reply."),
        may(
            "is_termination_msg",
            ValueKind::Expression,
            "Whether a `message` ends the conversation (default: it equals TERMINATE).",
        ),
        may("tools", TOOL_NAMES, "The tools that its model is offered: NAME, or SET.NAME."),
        may("executes", TOOL_NAMES, "The tools that it executes when another agent calls them."),
        may("output", ValueKind::Schema, "What its model's replies must be."),
        ON_CUT,
        may(
            "nested_chats",
            ValueKind::List(&ValueKind::Shape(&NESTED_CHATS)),
            "Chats that it holds instead of answering by itself.",
        ),
        may("handoffs", ValueKind::Shape(&HANDOFFS), "When it hands over, in a group."),
        may(
            "update_system_message",
            ValueKind::Template,
            "Its system message in a group, made anew before each reply; `context` is in its context.",
        ),
    ],
    shared: REQUEST_PARAMETERS,
};

/// What is done about replies of models that are cut off.
pub(super) const ON_CUT: ShapeKey = may(
    "on_cut",
    ValueKind::OneOf(&["continue", "fail", "ask_on"]),
    "What to do about a reply that was cut off, or is a refusal: `continue` with it, marked (default), `fail`, or `ask_on`: the model goes on where it stopped.",
);

/// The keys of a step that say what it does.
pub const ACTIONS: &[&str] = &[
    "text_input",
    "multiple_choice",
    "form",
    "message",
    "agent",
    "chat",
    "group_chat",
    "chats",
    "group",
    "branch",
    "loop",
    "foreach",
    "parallel",
    "call",
    "http",
    "workflow",
    "set",
    "wait",
    "return",
    "fail",
];

pub static STEP: MapShape = MapShape {
    name: "step",
    about: "One step: exactly one action, and what surrounds it.",
    keys: &[
        may("id", ValueKind::Name, "Where its value is found: `steps.<id>`."),
        may("name", ValueKind::Text, "What people see of it."),
        may("when", ValueKind::Expression, "Run it only if this holds."),
        may("timeout", ValueKind::Duration, "Wall time it may take."),
        may("retry", ValueKind::Shape(&RETRY), "Whether and when it is tried again after a failure."),
        may(
            "on_error",
            ValueKind::Either(&[ValueKind::OneOf(&["fail", "continue"]), ValueKind::Shape(&ON_ERROR)]),
            "What to do about a failure that remains; `error` is in the context.",
        ),
        may("text_input", ValueKind::Shape(&TEXT_INPUT), "Asks a person for a text."),
        may("multiple_choice", ValueKind::Shape(&MULTIPLE_CHOICE), "Asks a person to choose."),
        may("form", ValueKind::Shape(&FORM), "Asks a person to fill in a form."),
        may("message", ValueKind::Either(&[ValueKind::Template, ValueKind::Shape(&MESSAGE)]), "Shows something."),
        may("agent", ValueKind::Shape(&ASK_AGENT), "One question to one agent's model."),
        may("chat", ValueKind::Shape(&CHAT), "A conversation of two agents."),
        may("chats", ValueKind::Some(&ValueKind::Shape(&QUEUED_CHAT)), "Conversations one after the other."),
        may("group_chat", ValueKind::Shape(&GROUP_CHAT), "A conversation of several agents."),
        may("group", ValueKind::Shape(&GROUP), "A conversation of several agents that hand over to each other."),
        may("branch", ValueKind::Some(&ValueKind::Shape(&ARM)), "The first arm whose condition holds."),
        may("loop", ValueKind::Shape(&LOOP), "Steps, several times."),
        may("foreach", ValueKind::Shape(&FOREACH), "Steps, once for each item of a list."),
        may("parallel", ValueKind::Map(&STEPS_OF_BRANCH), "Several lists of steps at once, by name."),
        may("call", ValueKind::Shape(&CALL), "Calls a tool."),
        may(
            "http",
            ValueKind::Either(&[ValueKind::Template, ValueKind::Shape(&HTTP)]),
            "Sends a request to a server: `GET https://…`, or more of it.",
        ),
        may("workflow", ValueKind::Shape(&CALLED), "Another workflow."),
        may("set", ValueKind::Map(&ValueKind::Data), "Sets variables that `vars` declares."),
        may(
            "wait",
            ValueKind::Either(&[ValueKind::Duration, ValueKind::Shape(&WAIT)]),
            "Waits for a while, or until a time.",
        ),
        may("return", ValueKind::Data, "Ends the run with a value."),
        may("fail", ValueKind::Template, "Ends the run as failed, with a message."),
    ],
    shared: &[],
};

pub static RETRY: MapShape = MapShape {
    name: "retry",
    about: "Trying again after a failure.",
    keys: &[
        must("max", ValueKind::Whole(1), "How often it is tried again, at most."),
        may("delay", ValueKind::Duration, "How long to wait before (default 1s)."),
        may("on", ValueKind::List(&ValueKind::Text), "The kinds of failure that it is for (default: every kind)."),
    ],
    shared: &[],
};

pub static ON_ERROR: MapShape = MapShape {
    name: "on_error",
    about: "What the step's value is instead: a value, or that of the last of some steps.",
    keys: &[
        may("value", ValueKind::Data, "This value."),
        may("do", ValueKind::List(&ONE_STEP), "What is done instead."),
    ],
    shared: &[],
};

static ONE_ESCALATION: ValueKind = ValueKind::Shape(&ESCALATE);
static ONE_OR_MORE_ESCALATIONS: [ValueKind; 2] = [ValueKind::Shape(&ESCALATE), ValueKind::List(&ONE_ESCALATION)];

/// Who may answer a question, and who is told when nobody does.
const ANSWERER_KEYS: [ShapeKey; 4] = [
    may("by", ValueKind::Shape(&ANSWERERS), "Who may answer: only these (default: all who may answer in the run)."),
    may("not_by_starter", ValueKind::Bool, "The user who started the run may not answer (default false)."),
    may(
        "remind",
        ValueKind::Either(&[ValueKind::Duration, ValueKind::List(&ValueKind::Duration)]),
        "After how long webhooks get a notice that nobody has answered.",
    ),
    may("escalate", ValueKind::Either(&ONE_OR_MORE_ESCALATIONS), "Who may answer, too, when nobody has for a while."),
];

pub static ANSWERERS: MapShape = MapShape {
    name: "answerers",
    about: "Some people who may answer.",
    keys: &[
        may("users", ValueKind::List(&ValueKind::Text), "Users."),
        may("groups", ValueKind::List(&ValueKind::Text), "Groups."),
        may("starter", ValueKind::Bool, "The user who started the run (default false)."),
    ],
    shared: &[],
};

pub static ESCALATE: MapShape = MapShape {
    name: "escalation",
    about: "Who may answer, too, when nobody has for a while.",
    keys: &[
        must("after", ValueKind::Duration, "How long after the question was asked."),
        must("to", ValueKind::Shape(&ANSWERERS), "Who."),
    ],
    shared: &[],
};

/// What all questions have.
static ASKING: [ShapeKey; 9] = [
    must("prompt", ValueKind::Template, "Shown to the person; markdown."),
    may("sender", ValueKind::Template, "Who asks (default Workflow)."),
    may("recipient", ValueKind::Template, "Who is asked (default User)."),
    may("timeout", ValueKind::Duration, "How long to wait for an answer (default: for ever)."),
    may(
        "on_timeout",
        ValueKind::Either(&[ValueKind::OneOf(&["fail"]), ValueKind::Shape(&ON_TIMEOUT)]),
        "What happens then (default: the step fails with kind `timeout`).",
    ),
    ANSWERER_KEYS[0],
    ANSWERER_KEYS[1],
    ANSWERER_KEYS[2],
    ANSWERER_KEYS[3],
];

pub static ON_TIMEOUT: MapShape = MapShape {
    name: "on_timeout",
    about: "What the answer is if nobody answers in time.",
    keys: &[must("default", ValueKind::Data, "This is the answer.")],
    shared: &[],
};

pub static TEXT_INPUT: MapShape = MapShape {
    name: "text_input",
    about: "Asks a person for a text. Value: the text, or the number.",
    keys: &[
        may(
            "suggestions",
            ValueKind::Either(&[ValueKind::Template, TEXTS]),
            "Answers to pick from: a list, or one {{ expression }} that gives it.",
        ),
        may(
            "suggestions_fill",
            ValueKind::Bool,
            "A suggestion is put into the field, to be finished there, instead of being sent at once (default false).",
        ),
        may("password", ValueKind::Bool, "The answer is a secret (default false)."),
        may("multiline", ValueKind::Bool, "A large field (default false)."),
        may("pattern", ValueKind::Text, "A regular expression that the whole answer must match."),
        may("type", ValueKind::OneOf(&["string", "integer", "number"]), "What the answer becomes (default string)."),
    ],
    shared: &ASKING,
};

pub static MULTIPLE_CHOICE: MapShape = MapShape {
    name: "multiple_choice",
    about: "Asks a person to choose. Value: the choice, or a list if `single` is false.",
    keys: &[
        must(
            "choices",
            ValueKind::Either(&[
                ValueKind::Template,
                ValueKind::List(&ValueKind::Either(&[
                    ValueKind::Template,
                    ValueKind::Number,
                    ValueKind::Bool,
                    ValueKind::Shape(&CHOICE),
                ])),
            ]),
            "What there is to choose: a list, or one {{ expression }} that gives it.",
        ),
        may("default", ValueKind::Template, "The label that is chosen at first."),
        may("single", ValueKind::Bool, "One only (default true)."),
        may("min", ValueKind::Whole(0), "At least so many, with `single: false`."),
        may("max", ValueKind::Whole(1), "At most so many, with `single: false`."),
    ],
    shared: &ASKING,
};

pub static CHOICE: MapShape = MapShape {
    name: "choice",
    about: "One choice.",
    keys: &[
        must("label", ValueKind::Template, "What is shown."),
        may("value", ValueKind::Data, "What the step's value is when it is chosen (default: the label)."),
        may("description", ValueKind::Template, "A line about it."),
    ],
    shared: &[],
};

pub static FORM: MapShape = MapShape {
    name: "form",
    about: "Asks a person to fill in a form. Value: the object.",
    keys: &[must("schema", ValueKind::Schema, "What a valid object is.")],
    shared: &ASKING,
};

pub static MESSAGE: MapShape = MapShape {
    name: "message",
    about: "Shows something. Value: null.",
    keys: &[
        may("type", ValueKind::OneOf(&["text", "system", "error"]), "What kind of message (default text)."),
        may("body", ValueKind::Template, "The text (markdown), or the sentence that an error is."),
        may("long", ValueKind::Template, "More about an error."),
        may("data", ValueKind::Data, "What a system message says: a map."),
        may("sender", ValueKind::Template, "Who says it (default Workflow)."),
        may("recipient", ValueKind::Template, "To whom (default User)."),
    ],
    shared: &[],
};

pub static ASK_AGENT: MapShape = MapShape {
    name: "agent question",
    about: "One question to one agent's model. Value: its text, or the object if `output` is given.",
    keys: &[
        must("agent", ValueKind::Name, "The agent."),
        must("message", ValueKind::Template, "What it is asked."),
        may("output", ValueKind::Schema, "What the reply must be."),
        may("tools", TOOL_NAMES, "The tools that it is offered, and that are executed for it (default: its own)."),
        may(
            "max_tool_rounds",
            ValueKind::Whole(0),
            "How often its calls are executed before it must reply (default 10).",
        ),
        ON_CUT,
    ],
    shared: &[],
};

pub static TOOL: MapShape = MapShape {
    name: "tool",
    about: "A tool: its description and parameters for the model, and the steps to run; or the tools that somebody else has.",
    keys: &[
        may("description", ValueKind::Text, "What it does, for models (with `do`, `http`, `command` and `nats`)."),
        may("params", ValueKind::Schema, "The JSON Schema of its arguments (default: it takes none)."),
        may(
            "returns",
            ValueKind::OneOf(&["value", "reply_result"]),
            "What its `return` is: the result (default), or {message, target, context_variables} for a group.",
        ),
        may(
            "approve",
            ValueKind::Either(&[ValueKind::OneOf(&APPROVALS), ValueKind::Shape(&APPROVE)]),
            "Whether a person is asked before it is called: never (default), until it was allowed once in the run, or always.",
        ),
        may("do", ValueKind::List(&ONE_STEP), "Its steps; `args` is in their context, `return` ends the tool."),
        may(
            "http",
            ValueKind::Either(&[ValueKind::Template, ValueKind::Shape(&HTTP)]),
            "The request that it sends, in place of `do`: `GET https://…`, or more of it. What the address does not name of `args` goes into the query, or as JSON into the body.",
        ),
        may(
            "openapi",
            ValueKind::Text,
            "The operations of an OpenAPI specification: its file, or its address. Each is a tool.",
        ),
        may(
            "python",
            ValueKind::Text,
            "The functions of a Python file: `tools.py`, or one of them: `tools.py:get_weather`.",
        ),
        may("agent", ValueKind::Name, "The agent that is asked, in place of `do`; its description is the tool's."),
        may(
            "workflow",
            ValueKind::Name,
            "The workflow that is called, in place of `do`; its parameters are the tool's.",
        ),
        may("command", ValueKind::Name, "The program of `commands` in fastagency.yaml that is run, in place of `do`."),
        may(
            "nats",
            ValueKind::Template,
            "The subject of a service on NATS that is asked, in place of `do`: the arguments that it does not name are the request, as JSON.",
        ),
        may(
            "any_agent_may_call",
            ValueKind::Bool,
            "Whether agents may call it that it is not offered to, as in AG2 (default false).",
        ),
        may(
            "parallel",
            ValueKind::Bool,
            "Whether it may be called at the same time as the other calls of a reply (default: not with `do`, `agent`, `workflow`).",
        ),
        may("mcp", ValueKind::Name, "The tools of an MCP server, by its name in `mcp` of fastagency.yaml."),
        may("only", ValueKind::Some(&ValueKind::Text), "Only the tools with these names; `*` is any text."),
        may("except", ValueKind::Some(&ValueKind::Text), "The tools that are left out; `*` is any text."),
        may("server", ValueKind::Text, "The server, in place of the specification's own (with `openapi`)."),
        may(
            "security",
            ValueKind::Table(&ValueKind::Name),
            "Which secret is sent for which security scheme of the specification (default: the one of the same name).",
        ),
        may("prefix", ValueKind::Text, "What the names of its tools begin with."),
        may(
            "inject",
            ValueKind::Table(&ValueKind::Data),
            "Arguments that models do not see (not with `do`, `agent`, `workflow`); their texts are templates.",
        ),
        may("max_result", ValueKind::Size, "What is kept of a result (default 256KiB)."),
        may(
            "idempotent",
            ValueKind::Bool,
            "Whether its tools may be called again if a worker is lost during a call (default: what each tool says).",
        ),
        may(
            "on_lost",
            ValueKind::OneOf(&["ask", "tell", "fail"]),
            "What happens if a worker is lost during a call that may not be made again: a person is asked (ask; default where an agent calls), the call fails with the kind `lost` (tell; default of steps), or the agent's conversation fails (fail). Not with `do`, `agent`, `workflow`.",
        ),
        may("error_message", ValueKind::Text, "The words for models and people in place of the owner's own."),
        may(
            "rate",
            ValueKind::Text,
            "How often it may be called, by all workers together: 10/s, 100/min or 1000/h (not with `do`, `agent`, `workflow`; of a set: all of its tools together). Further calls wait.",
        ),
        may("timeout", ValueKind::Duration, "How long a call may take (not with `do`; default 30s)."),
        may("retry", ValueKind::Shape(&RETRY), "Whether and when a call is repeated after a failure (not with `do`)."),
    ],
    shared: &[],
};

/// The keys that make a tool a set of tools that somebody else has.
pub const TOOLSET_KINDS: [&str; 3] = ["openapi", "python", "mcp"];

const APPROVALS: [&str; 3] = ["never", "first", "always"];

pub static APPROVE: MapShape = MapShape {
    name: "approval",
    about: "A person is asked before the tool is called.",
    keys: &[
        may(
            "ask",
            ValueKind::OneOf(&["first", "always"]),
            "When: until it was allowed once in the run, or always (default).",
        ),
        may(
            "tools",
            ValueKind::Some(&ValueKind::Text),
            "Only about these tools of a set; `*` is any text (default: about all).",
        ),
        may("timeout", ValueKind::Duration, "How long to wait for an answer (default: for ever)."),
        may(
            "on_timeout",
            ValueKind::OneOf(&["deny", "fail"]),
            "What happens then: the call is denied (default), or it fails with kind `timeout`.",
        ),
        ANSWERER_KEYS[0],
        ANSWERER_KEYS[1],
        ANSWERER_KEYS[2],
        ANSWERER_KEYS[3],
    ],
    shared: &[],
};

pub static CALL: MapShape = MapShape {
    name: "tool call",
    about: "Calls a tool. Value: its result.",
    keys: &[
        must("tool", ValueKind::Text, "The tool: NAME, or SET.NAME."),
        may("args", ValueKind::Map(&ValueKind::Data), "Its arguments."),
    ],
    shared: &[],
};

pub static HTTP: MapShape = MapShape {
    name: "http request",
    about: "A request to a server. Value: its answer, read as JSON if it is; in headers, query and body `secrets` is in the context.",
    keys: &[
        must(
            "url",
            ValueKind::Template,
            "The address. Scheme and host stand there as they are; values are encoded into its path and query.",
        ),
        may("method", ValueKind::OneOf(&METHODS), "The method (default: POST with a body, else GET)."),
        may(
            "query",
            ValueKind::Table(&ValueKind::Data),
            "What is added to the query; null is left out, a list is repeated.",
        ),
        may(
            "headers",
            ValueKind::Table(&ValueKind::Template),
            "Headers, like `Authorization: Bearer {{ secrets.billing }}`.",
        ),
        may("json", ValueKind::Data, "The body, as JSON."),
        may("form", ValueKind::Table(&ValueKind::Data), "The body, as a form."),
        may("text", ValueKind::Template, "The body, as it is."),
        may(
            "idempotent",
            ValueKind::Bool,
            "Whether it may be sent again if a worker is lost while it waits for the answer (default: GET, HEAD).",
        ),
        may(
            "returns",
            ValueKind::OneOf(&["body", "response"]),
            "The value: the body (default), or {status, headers, body} of whatever answer comes.",
        ),
        may(
            "max_result",
            ValueKind::Size,
            "What is read of the answer (default 256KiB); the rest is cut off, with a mark.",
        ),
        may(
            "error_message",
            ValueKind::Text,
            "The words for models and people if it fails, in place of the server's own.",
        ),
    ],
    shared: &[],
};

/// The methods of requests.
pub const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

pub static ARM: MapShape = MapShape {
    name: "branch arm",
    about: "{when, do}, or {else} as the last.",
    keys: &[
        may("when", ValueKind::Expression, "Its condition."),
        may("do", ValueKind::List(&ONE_STEP), "What is done if it holds."),
        may("else", ValueKind::List(&ONE_STEP), "What is done if no condition held."),
    ],
    shared: &[],
};

pub static LOOP: MapShape = MapShape {
    name: "loop",
    about: "Steps, several times. Value: the list of the iterations' values.",
    keys: &[
        must("max", ValueKind::Whole(1), "Never more often than this; to reach it is no error."),
        may("until", ValueKind::Expression, "Ends when it holds; tested after an iteration."),
        may("while", ValueKind::Expression, "Goes on while it holds; tested before an iteration."),
        must("do", ValueKind::List(&ONE_STEP), "The steps."),
    ],
    shared: &[],
};

pub static FOREACH: MapShape = MapShape {
    name: "foreach",
    about: "Steps, once for each item. Value: the list of the iterations' values.",
    keys: &[
        must("in", ValueKind::Data, "A list, or one {{ expression }} that gives it."),
        may("as", ValueKind::Name, "What the item is called (default item)."),
        may("parallel", ValueKind::Whole(1), "How many at once (default 1)."),
        must("do", ValueKind::List(&ONE_STEP), "The steps."),
    ],
    shared: &[],
};

pub static CALLED: MapShape = MapShape {
    name: "workflow call",
    about: "Another workflow. Value: its return, or its run id if `wait` is false.",
    keys: &[
        must("name", ValueKind::Name, "Its name."),
        may("params", ValueKind::Map(&ValueKind::Data), "Its parameters."),
        may("wait", ValueKind::Bool, "Whether to wait for its end (default true)."),
    ],
    shared: &[],
};

pub static WAIT: MapShape = MapShape {
    name: "wait",
    about: "Waits until a time.",
    keys: &[must("until", ValueKind::Template, "The time (RFC 3339): 2026-12-24T18:00:00+01:00.")],
    shared: &[],
};
