//! What a workflow's file may hold, as tables: the reader knows no other keys, and the JSON Schema for editors is made of them.

use serde_json::Value;

use crate::yaml::shape::{Key, Kind, REQUEST_PARAMETERS, Shape, later, may, must};

pub mod talks;

use talks::{CHAT, GROUP, GROUP_CHAT, HANDOFFS, NESTED_CHATS, QUEUED_CHAT};

/// The JSON Schema of `workflows/*.yaml`.
pub fn json_schema() -> Value {
    WORKFLOW.json_schema("https://fastagency.dev/schemas/workflow.json", "A workflow of fastagency", false)
}

static ONE_STEP: Kind = Kind::Shape(&STEP);
static STEPS_OF_BRANCH: Kind = Kind::List(&ONE_STEP);
const TEXTS: Kind = Kind::List(&Kind::Template);
const NAMES: Kind = Kind::List(&Kind::Name);

pub static WORKFLOW: Shape = Shape {
    name: "workflow",
    about: "One workflow: who takes part, and what is done.",
    keys: &[
        must("version", Kind::Only(1), "The version of the language: 1."),
        must("name", Kind::Name, "The key that clients start it by."),
        may("title", Kind::Text, "What people see instead of the name."),
        may("description", Kind::Text, "What it is for, in a sentence."),
        may("params", Kind::Schema, "The JSON Schema of its parameters; defaults are filled in."),
        may("vars", Kind::Map(&Kind::Any), "The variables that `set` may set, with their first values."),
        may("limits", Kind::Shape(&LIMITS), "What a run may use up before it is ended."),
        may("agents", Kind::Map(&Kind::Shape(&AGENT)), "The agents by name."),
        may("tools", Kind::Map(&Kind::Shape(&TOOL)), "The tools by name."),
        must("steps", Kind::Some(&Kind::Shape(&STEP)), "What is done, in order."),
    ],
    shared: &[],
};

pub static LIMITS: Shape = Shape {
    name: "limits",
    about: "What a run may use up before it is ended with a reason.",
    keys: &[
        may("llm_calls", Kind::Whole(1), "Requests to models (default: 10000)."),
        may("tool_calls", Kind::Whole(1), "Calls of tools."),
        may("tokens", Kind::Whole(1), "Tokens, prompt and completion together."),
        may("cost_usd", Kind::Number, "Money, in US dollars, by the price table of the configuration."),
        may("duration", Kind::Duration, "Time at work, waiting for people left out."),
        may("records", Kind::Whole(10), "Records of the run's log (default: 100000)."),
        may("steps", Kind::Whole(1), "Steps; those of a loop count each time (default: 1000000)."),
        may(
            "repeated_calls",
            Kind::Whole(2),
            "How often a conversation may make the same call with the same result, or the same request to a model, with nothing new in between (default: 20).",
        ),
    ],
    shared: &[],
};

pub static AGENT: Shape = Shape {
    name: "agent",
    about: "An agent, with the meaning and the defaults of AG2's classes.",
    keys: &[
        may(
            "kind",
            Kind::OneOf(&["conversable", "assistant", "user_proxy"]),
            "AG2's class; the classes differ in defaults only.",
        ),
        may("system_message", Kind::Text, "The first message in each request to its model."),
        may("description", Kind::Text, "What it is for; other agents may read it."),
        may(
            "llm",
            Kind::Either(&[Kind::Name, Kind::False]),
            "A name in `llms:`, or false for no model (default: `default`).",
        ),
        may(
            "human_input_mode",
            Kind::OneOf(&["NEVER", "TERMINATE", "ALWAYS"]),
            "When it asks a person before it replies.",
        ),
        may("max_consecutive_auto_reply", Kind::Whole(0), "How many replies it may give by itself (default 100)."),
        may("default_auto_reply", Kind::Text, "What it says if nothing else gives a reply."),
        may(
            "is_termination_msg",
            Kind::Expression,
            "Whether a `message` ends the conversation (default: it equals TERMINATE).",
        ),
        may("tools", NAMES, "The tools that its model is offered."),
        may("executes", NAMES, "The tools that it executes when another agent calls them."),
        may("output", Kind::Schema, "What its model's replies must be."),
        may(
            "nested_chats",
            Kind::List(&Kind::Shape(&NESTED_CHATS)),
            "Chats that it holds instead of answering by itself.",
        ),
        may("handoffs", Kind::Shape(&HANDOFFS), "When it hands over, in a group."),
        may(
            "update_system_message",
            Kind::Template,
            "Its system message in a group, made anew before each reply; `context` is in its context.",
        ),
    ],
    shared: REQUEST_PARAMETERS,
};

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
    "workflow",
    "set",
    "wait",
    "return",
    "fail",
];

pub static STEP: Shape = Shape {
    name: "step",
    about: "One step: exactly one action, and what surrounds it.",
    keys: &[
        may("id", Kind::Name, "Where its value is found: `steps.<id>`."),
        may("name", Kind::Text, "What people see of it."),
        may("when", Kind::Expression, "Run it only if this holds."),
        may("timeout", Kind::Duration, "Wall time it may take."),
        may("retry", Kind::Shape(&RETRY), "Whether and when it is tried again after a failure."),
        may(
            "on_error",
            Kind::Either(&[Kind::OneOf(&["fail", "continue"]), Kind::Shape(&ON_ERROR)]),
            "What to do about a failure that remains; `error` is in the context.",
        ),
        may("text_input", Kind::Shape(&TEXT_INPUT), "Asks a person for a text."),
        may("multiple_choice", Kind::Shape(&MULTIPLE_CHOICE), "Asks a person to choose."),
        may("form", Kind::Shape(&FORM), "Asks a person to fill in a form."),
        may("message", Kind::Either(&[Kind::Template, Kind::Shape(&MESSAGE)]), "Shows something."),
        may("agent", Kind::Shape(&ASK_AGENT), "One question to one agent's model."),
        may("chat", Kind::Shape(&CHAT), "A conversation of two agents."),
        may("chats", Kind::Some(&Kind::Shape(&QUEUED_CHAT)), "Conversations one after the other."),
        may("group_chat", Kind::Shape(&GROUP_CHAT), "A conversation of several agents."),
        may("group", Kind::Shape(&GROUP), "A conversation of several agents that hand over to each other."),
        may("branch", Kind::Some(&Kind::Shape(&ARM)), "The first arm whose condition holds."),
        may("loop", Kind::Shape(&LOOP), "Steps, several times."),
        may("foreach", Kind::Shape(&FOREACH), "Steps, once for each item of a list."),
        may("parallel", Kind::Map(&STEPS_OF_BRANCH), "Several lists of steps at once, by name."),
        may("call", Kind::Shape(&CALL), "Calls a tool."),
        may("workflow", Kind::Shape(&CALLED), "Another workflow."),
        may("set", Kind::Map(&Kind::Data), "Sets variables that `vars` declares."),
        may("wait", Kind::Either(&[Kind::Duration, Kind::Shape(&WAIT)]), "Waits for a while, or until a time."),
        may("return", Kind::Data, "Ends the run with a value."),
        may("fail", Kind::Template, "Ends the run as failed, with a message."),
    ],
    shared: &[],
};

pub static RETRY: Shape = Shape {
    name: "retry",
    about: "Trying again after a failure.",
    keys: &[
        must("max", Kind::Whole(1), "How often it is tried again, at most."),
        may("delay", Kind::Duration, "How long to wait before (default 1s)."),
        may("on", Kind::List(&Kind::Text), "The kinds of failure that it is for (default: every kind)."),
    ],
    shared: &[],
};

pub static ON_ERROR: Shape = Shape {
    name: "on_error",
    about: "What the step's value is instead: a value, or that of the last of some steps.",
    keys: &[may("value", Kind::Data, "This value."), may("do", Kind::List(&ONE_STEP), "What is done instead.")],
    shared: &[],
};

/// What all questions have.
static ASKING: [Key; 5] = [
    must("prompt", Kind::Template, "Shown to the person; markdown."),
    may("sender", Kind::Template, "Who asks (default Workflow)."),
    may("recipient", Kind::Template, "Who is asked (default User)."),
    may("timeout", Kind::Duration, "How long to wait for an answer (default: for ever)."),
    may(
        "on_timeout",
        Kind::Either(&[Kind::OneOf(&["fail"]), Kind::Shape(&ON_TIMEOUT)]),
        "What happens then (default: the step fails with kind `timeout`).",
    ),
];

pub static ON_TIMEOUT: Shape = Shape {
    name: "on_timeout",
    about: "What the answer is if nobody answers in time.",
    keys: &[must("default", Kind::Data, "This is the answer.")],
    shared: &[],
};

pub static TEXT_INPUT: Shape = Shape {
    name: "text_input",
    about: "Asks a person for a text. Value: the text, or the number.",
    keys: &[
        may(
            "suggestions",
            Kind::Either(&[Kind::Template, TEXTS]),
            "Answers to pick from: a list, or one {{ expression }} that gives it.",
        ),
        may(
            "suggestions_fill",
            Kind::Bool,
            "A suggestion is put into the field, to be finished there, instead of being sent at once (default false).",
        ),
        may("password", Kind::Bool, "The answer is a secret (default false)."),
        may("multiline", Kind::Bool, "A large field (default false)."),
        may("pattern", Kind::Text, "A regular expression that the whole answer must match."),
        may("type", Kind::OneOf(&["string", "integer", "number"]), "What the answer becomes (default string)."),
    ],
    shared: &ASKING,
};

pub static MULTIPLE_CHOICE: Shape = Shape {
    name: "multiple_choice",
    about: "Asks a person to choose. Value: the choice, or a list if `single` is false.",
    keys: &[
        must(
            "choices",
            Kind::Either(&[
                Kind::Template,
                Kind::List(&Kind::Either(&[Kind::Template, Kind::Number, Kind::Bool, Kind::Shape(&CHOICE)])),
            ]),
            "What there is to choose: a list, or one {{ expression }} that gives it.",
        ),
        may("default", Kind::Template, "The label that is chosen at first."),
        may("single", Kind::Bool, "One only (default true)."),
        may("min", Kind::Whole(0), "At least so many, with `single: false`."),
        may("max", Kind::Whole(1), "At most so many, with `single: false`."),
    ],
    shared: &ASKING,
};

pub static CHOICE: Shape = Shape {
    name: "choice",
    about: "One choice.",
    keys: &[
        must("label", Kind::Template, "What is shown."),
        may("value", Kind::Data, "What the step's value is when it is chosen (default: the label)."),
        may("description", Kind::Template, "A line about it."),
    ],
    shared: &[],
};

pub static FORM: Shape = Shape {
    name: "form",
    about: "Asks a person to fill in a form. Value: the object.",
    keys: &[must("schema", Kind::Schema, "What a valid object is.")],
    shared: &ASKING,
};

pub static MESSAGE: Shape = Shape {
    name: "message",
    about: "Shows something. Value: null.",
    keys: &[
        may("type", Kind::OneOf(&["text", "system", "error"]), "What kind of message (default text)."),
        may("body", Kind::Template, "The text (markdown), or the sentence that an error is."),
        may("long", Kind::Template, "More about an error."),
        may("data", Kind::Data, "What a system message says: a map."),
        may("sender", Kind::Template, "Who says it (default Workflow)."),
        may("recipient", Kind::Template, "To whom (default User)."),
    ],
    shared: &[],
};

pub static ASK_AGENT: Shape = Shape {
    name: "agent question",
    about: "One question to one agent's model. Value: its text, or the object if `output` is given.",
    keys: &[
        must("agent", Kind::Name, "The agent."),
        must("message", Kind::Template, "What it is asked."),
        may("output", Kind::Schema, "What the reply must be."),
        may("tools", NAMES, "The tools that it is offered, and that are executed for it (default: its own)."),
        may("max_tool_rounds", Kind::Whole(0), "How often its calls are executed before it must reply (default 10)."),
    ],
    shared: &[],
};

pub static TOOL: Shape = Shape {
    name: "tool",
    about: "A tool: its description and parameters for the model, and the steps to run.",
    keys: &[
        must("description", Kind::Text, "What it does, for models."),
        may("params", Kind::Schema, "The JSON Schema of its arguments (default: it takes none)."),
        may(
            "returns",
            Kind::OneOf(&["value", "reply_result"]),
            "What its `return` is: the result (default), or {message, target, context_variables} for a group.",
        ),
        may(
            "approve",
            Kind::OneOf(&["never", "first", "always"]),
            "Whether a person is asked before it is called: never (default), until it was allowed once in the run, or always.",
        ),
        may("do", Kind::List(&ONE_STEP), "Its steps; `args` is in their context, `return` ends the tool."),
        later("openapi"),
        later("mcp"),
        later("http"),
        later("command"),
        later("nats"),
        later("workflow"),
        later("inject"),
        later("timeout"),
        later("retry"),
        later("max_result"),
    ],
    shared: &[],
};

pub static CALL: Shape = Shape {
    name: "tool call",
    about: "Calls a tool. Value: its result.",
    keys: &[must("tool", Kind::Name, "The tool."), may("args", Kind::Map(&Kind::Data), "Its arguments.")],
    shared: &[],
};

pub static ARM: Shape = Shape {
    name: "branch arm",
    about: "{when, do}, or {else} as the last.",
    keys: &[
        may("when", Kind::Expression, "Its condition."),
        may("do", Kind::List(&ONE_STEP), "What is done if it holds."),
        may("else", Kind::List(&ONE_STEP), "What is done if no condition held."),
    ],
    shared: &[],
};

pub static LOOP: Shape = Shape {
    name: "loop",
    about: "Steps, several times. Value: the list of the iterations' values.",
    keys: &[
        must("max", Kind::Whole(1), "Never more often than this; to reach it is no error."),
        may("until", Kind::Expression, "Ends when it holds; tested after an iteration."),
        may("while", Kind::Expression, "Goes on while it holds; tested before an iteration."),
        must("do", Kind::List(&ONE_STEP), "The steps."),
    ],
    shared: &[],
};

pub static FOREACH: Shape = Shape {
    name: "foreach",
    about: "Steps, once for each item. Value: the list of the iterations' values.",
    keys: &[
        must("in", Kind::Data, "A list, or one {{ expression }} that gives it."),
        may("as", Kind::Name, "What the item is called (default item)."),
        may("parallel", Kind::Whole(1), "How many at once (default 1)."),
        must("do", Kind::List(&ONE_STEP), "The steps."),
    ],
    shared: &[],
};

pub static CALLED: Shape = Shape {
    name: "workflow call",
    about: "Another workflow. Value: its return, or its run id if `wait` is false.",
    keys: &[
        must("name", Kind::Name, "Its name."),
        may("params", Kind::Map(&Kind::Data), "Its parameters."),
        may("wait", Kind::Bool, "Whether to wait for its end (default true)."),
    ],
    shared: &[],
};

pub static WAIT: Shape = Shape {
    name: "wait",
    about: "Waits until a time.",
    keys: &[must("until", Kind::Template, "The time (RFC 3339): 2026-12-24T18:00:00+01:00.")],
    shared: &[],
};
