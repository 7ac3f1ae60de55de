//! What the keys about conversations may hold.

use super::{ANSWERER_KEYS, NAMES, ON_CUT};
use crate::yaml::shape::{MapShape, REQUEST_PARAMETERS, ShapeKey, ValueKind, may, must};

const CARRYOVER: ValueKind = ValueKind::Either(&[ValueKind::Template, ValueKind::List(&ValueKind::Data)]);
static A_TARGET: ValueKind = ValueKind::Either(&[ValueKind::Name, ValueKind::Shape(&TARGET)]);
static ONE_NESTED_CHAT: ValueKind = ValueKind::Shape(&NESTED_CHAT);

/// How a chat is summed up.
const SUMMARY: [ShapeKey; 2] = [
    may(
        "summary_method",
        ValueKind::OneOf(&["last_msg", "reflection_with_llm", "none"]),
        "How it is summed up (default last_msg).",
    ),
    may("summary_args", ValueKind::Shape(&SUMMARY_ARGS), "How a model is asked for the summary."),
];

/// What all chats of two have.
static TALK: [ShapeKey; 8] = [
    must("recipient", ValueKind::Name, "Who answers first."),
    may("message", ValueKind::Data, "The first message."),
    may("max_turns", ValueKind::Whole(1), "How many turns, a message and its reply, at most."),
    SUMMARY[0],
    SUMMARY[1],
    may("clear_history", ValueKind::Bool, "Forget what the two said before (default true)."),
    may("silent", ValueKind::Bool, "Show nothing of what they say (default false)."),
    ON_CUT,
];

pub static CHAT: MapShape = MapShape {
    name: "chat",
    about: "A conversation of two agents (AG2's initiate_chat); without a `message` a person is asked for it. Value: {summary, \
            messages, last, turns, stop_reason, last_speaker, usage}.",
    keys: &[
        may(
            "sender",
            ValueKind::Name,
            "Who begins (default: `user`, who has no model and executes the recipient's tools, as AG2's run).",
        ),
        may("user_input", ValueKind::Bool, "Without a sender: ask a person each time (default false)."),
        may("carryover", CARRYOVER, "Added to the first message under `Context:`."),
    ],
    shared: &TALK,
};

pub static QUEUED_CHAT: MapShape = MapShape {
    name: "chat of a list",
    about: "One of several conversations (AG2's initiate_chats); it gets the summaries of those before it.",
    keys: &[
        may("sender", ValueKind::Name, "Who begins (default: who began the first one)."),
        may("carryover", CARRYOVER, "Added to the first message, before the summaries."),
        may(
            "finished_chat_indexes_to_exclude_from_carryover",
            ValueKind::List(&ValueKind::Whole(0)),
            "The chats whose summaries it does not get; the first one is 0.",
        ),
    ],
    shared: &TALK,
};

pub static NESTED_CHATS: MapShape = MapShape {
    name: "list of nested chats",
    about: "Chats that an agent holds instead of answering by itself; the last one's summary is its reply.",
    keys: &[
        may("trigger", ValueKind::Either(&[ValueKind::Name, NAMES]), "Whom it answers so."),
        may("trigger_except", NAMES, "Whom it does not answer so: everybody else."),
        must("chats", ValueKind::Some(&ONE_NESTED_CHAT), "The chats, one after the other."),
    ],
    shared: &[],
};

pub static NESTED_CHAT: MapShape = MapShape {
    name: "nested chat",
    about: "A chat within another; without a `message` the first one begins with what is to be answered. `message` is in the \
            context of its first message.",
    keys: &[
        may("sender", ValueKind::Name, "Who begins (default: the agent itself)."),
        may(
            "carryover_config",
            ValueKind::Shape(&CARRYOVER_CONFIG),
            "What of the outer conversation goes with the first message of the first chat.",
        ),
    ],
    shared: &TALK,
};

pub static CARRYOVER_CONFIG: MapShape = MapShape {
    name: "carryover_config",
    about: "What of an outer conversation goes into a nested one.",
    keys: &[
        must(
            "summary_method",
            ValueKind::OneOf(&["all", "last_msg", "reflection_with_llm"]),
            "Every message, the last one, or what a model makes of them.",
        ),
        may("summary_args", ValueKind::Shape(&SUMMARY_ARGS), "How the model is asked."),
    ],
    shared: &[],
};

pub static GROUP_CHAT: MapShape = MapShape {
    name: "group chat",
    about: "A conversation of several agents (AG2's GroupChat). Value: as that of a chat.",
    keys: &[
        must("agents", ValueKind::Some(&ValueKind::Name), "The members, in order; at least two."),
        may("initiator", ValueKind::Name, "Who begins; need not be a member (default: the first one)."),
        may("message", ValueKind::Data, "The first message (default: a person is asked for it)."),
        may("max_round", ValueKind::Whole(1), "How many messages at most, the first one included (default 10)."),
        may("max_turns", ValueKind::Whole(1), "How often the initiator begins anew, at most."),
        may(
            "speaker_selection_method",
            ValueKind::OneOf(&["auto", "manual", "random", "round_robin"]),
            "How the next speaker is chosen (default auto: a model is asked).",
        ),
        may(
            "allow_repeat_speaker",
            ValueKind::Either(&[ValueKind::Bool, NAMES]),
            "Who may speak twice in a row: everybody (default), nobody, or these.",
        ),
        may("transitions", ValueKind::Map(&NAMES), "Who may speak after whom."),
        may("transitions_type", ValueKind::OneOf(&["allowed", "disallowed"]), "Or who may not (default allowed)."),
        may(
            "send_introductions",
            ValueKind::Bool,
            "Whether every agent first gets a list of the members (default false).",
        ),
        may(
            "max_retries_for_selecting_speaker",
            ValueKind::Whole(0),
            "How often a model that named nobody, or several, is asked again (default 2).",
        ),
        may(
            "select_speaker_message_template",
            ValueKind::Text,
            "The first message to the model that selects, with {roles} and {agentlist}.",
        ),
        may(
            "select_speaker_prompt_template",
            ValueKind::Any,
            "The last message to it, with {agentlist}; null: the last message of the conversation again.",
        ),
        may("select_speaker_auto_none_template", ValueKind::Text, "The message to it when it named no agent."),
        may(
            "select_speaker_auto_multiple_template",
            ValueKind::Text,
            "The message to it when it named several agents.",
        ),
        may(
            "role_for_select_speaker_messages",
            ValueKind::OneOf(&["system", "user", "assistant"]),
            "The role of the last message to it (default system).",
        ),
        may("select_speaker_auto_verbose", ValueKind::Bool, "Whether people see how it selects (default false)."),
        may("select_speaker_auto_llm", ValueKind::Name, "The model that selects (default: the manager's)."),
        may("manager", ValueKind::Shape(&MANAGER), "Who leads it."),
        SUMMARY[0],
        SUMMARY[1],
        may("carryover", CARRYOVER, "Added to the first message under `Context:`."),
        may("clear_history", ValueKind::Bool, "Forget what the group said before (default true)."),
        may("silent", ValueKind::Bool, "Do not show the first message (default false)."),
        ON_CUT,
    ],
    shared: &[],
};

pub static MANAGER: MapShape = MapShape {
    name: "manager",
    about: "Who leads a group. The model is never told about it.",
    keys: &[
        may("name", ValueKind::Name, "Its name (default chat_manager); the group remembers under it what was said."),
        may(
            "llm",
            ValueKind::Either(&[ValueKind::Name, ValueKind::False]),
            "The model that selects speakers and sums up (default: `default`), or false for none.",
        ),
        may(
            "is_termination_msg",
            ValueKind::Expression,
            "Whether a `message` ends the chat (default: it equals TERMINATE).",
        ),
        ANSWERER_KEYS[0],
        ANSWERER_KEYS[1],
        ANSWERER_KEYS[2],
        ANSWERER_KEYS[3],
    ],
    shared: REQUEST_PARAMETERS,
};

pub static GROUP: MapShape = MapShape {
    name: "group",
    about: "A conversation of several agents that share variables and hand over to each other (AG2's run_group_chat). Value: as \
            that of a chat, with context_variables.",
    keys: &[
        may(
            "pattern",
            ValueKind::OneOf(&["default", "auto", "round_robin", "random", "manual"]),
            "Who speaks when nobody hands over (default: whom `after_work` names).",
        ),
        must("initial_agent", ValueKind::Name, "Who speaks first."),
        must("agents", ValueKind::Some(&ValueKind::Name), "The members, in order."),
        may("user_agent", ValueKind::Name, "Who stands for the person."),
        must("messages", ValueKind::Data, "The first message, or a list of messages with names to go on from."),
        may("context_variables", ValueKind::Map(&ValueKind::Data), "What the agents share, at first."),
        may("after_work", A_TARGET, "Who speaks after an agent that does not say it (default: terminate)."),
        may("max_rounds", ValueKind::Whole(1), "How many messages at most, the first one included (default 20)."),
        may(
            "exclude_transit_message",
            ValueKind::Bool,
            "Whether agents see neither the calls that hand over nor their results (default true).",
        ),
        may("manager", ValueKind::Shape(&MANAGER), "Who leads it."),
        SUMMARY[0],
        SUMMARY[1],
        ON_CUT,
    ],
    shared: &[],
};

pub static HANDOFFS: MapShape = MapShape {
    name: "handoffs",
    about: "When an agent hands over. `context` is in the context of all expressions.",
    keys: &[
        may("llm", ValueKind::List(&ValueKind::Shape(&LLM_HANDOFF)), "When its model says so: each is a tool of it."),
        may(
            "context",
            ValueKind::List(&ValueKind::Shape(&AFTER_WORK)),
            "When the shared variables say so, before its model is asked.",
        ),
        may(
            "after_work",
            ValueKind::Either(&[
                ValueKind::Name,
                ValueKind::Shape(&TARGET),
                ValueKind::List(&ValueKind::Either(&[
                    ValueKind::Name,
                    ValueKind::Shape(&AFTER_WORK),
                    ValueKind::Shape(&TARGET),
                ])),
            ]),
            "After it has spoken; of several the first that holds counts.",
        ),
    ],
    shared: &[],
};

pub static LLM_HANDOFF: MapShape = MapShape {
    name: "handoff by the model",
    about: "A tool with which a model hands over.",
    keys: &[
        must("target", A_TARGET, "To whom."),
        must("prompt", ValueKind::Template, "When, in words for the model."),
        may("available", ValueKind::Expression, "Whether it is offered."),
    ],
    shared: &[],
};

pub static AFTER_WORK: MapShape = MapShape {
    name: "handoff",
    about: "A condition under which an agent hands over.",
    keys: &[
        must("target", A_TARGET, "To whom."),
        may("when", ValueKind::Expression, "The condition (default: always)."),
        may("available", ValueKind::Expression, "Whether it counts."),
    ],
    shared: &[],
};

pub static TARGET: MapShape = MapShape {
    name: "target",
    about: "To whom is handed over: an agent's name, terminate, stay, revert_to_user, ask_user, group_manager, or one of these.",
    keys: &[
        may("agent", ValueKind::Name, "An agent."),
        may("random", NAMES, "One of these agents, by chance."),
        may("nested_chats", ValueKind::List(&ONE_NESTED_CHAT), "Chats whose last summary is said to the group."),
    ],
    shared: &[],
};

pub static SUMMARY_ARGS: MapShape = MapShape {
    name: "summary_args",
    about: "How a model is asked for the summary, with `reflection_with_llm`.",
    keys: &[
        may("summary_prompt", ValueKind::Text, "Instead of AG2's prompt."),
        may("summary_role", ValueKind::Text, "Instead of `system`."),
    ],
    shared: &[],
};
