//! What `fastagency.yaml` may hold, as tables: the reader knows no other keys, and the JSON Schema for editors is made of them.

use serde_json::Value;

use crate::yaml::shape::{Key, Kind, REQUEST_PARAMETERS, Shape, later, may, must};

/// The JSON Schema of `fastagency.yaml`.
pub fn json_schema() -> Value {
    CONFIG.json_schema("https://fastagency.dev/schemas/config.json", "The configuration of a fastagency project", true)
}

pub static CONFIG: Shape = Shape {
    name: "configuration",
    about: "The project: connection, models, tiers. `${VAR}`, `${VAR:-default}` and `${file:/path}` stand for values from outside.",
    keys: &[
        must("version", Kind::Only(1), "The version of the language: 1."),
        may("name", Kind::Text, "The project's name (default fastagency)."),
        may("nats", Kind::Shape(&NATS), "The NATS server."),
        may("workflows", Kind::Text, "The folder of workflows (default workflows)."),
        may("llms", Kind::Map(&Kind::Shape(&LLM)), "The models by name; `default` is used where none is named."),
        may(
            "prices",
            Kind::Table(&Kind::Shape(&PRICE)),
            "What models cost, by the name that the provider knows a model by.",
        ),
        may("gateway", Kind::Shape(&GATEWAY), "The gateway."),
        may("ui", Kind::Shape(&UI), "The chat page."),
        may("worker", Kind::Shape(&WORKER), "The worker."),
        may("auth", Kind::Shape(&AUTH), "Who may call the gateway."),
        may("metrics", Kind::Shape(&METRICS), "Where figures are shown to Prometheus."),
        may("telemetry", Kind::Shape(&TELEMETRY), "Where traces are sent."),
        may("data_dir", Kind::Text, "Where the embedded broker keeps its data (default data)."),
        may(
            "data_max_bytes",
            Kind::Size,
            "What the embedded broker's store may hold; a full one takes no more starts (default: what the disk can spare).",
        ),
        may("shutdown_grace", Kind::Duration, "How long a tier may take to end (default 10s)."),
        may("keep_ended", Kind::Duration, "How long an ended run is kept (default 30d)."),
        may(
            "webhooks",
            Kind::Map(&Kind::Shape(&WEBHOOK)),
            "Programs that get a notice when a run waits for a person, or has ended.",
        ),
        may("seal_key", Kind::Text, "The key that seals passwords in the log (default: they live in memory only)."),
        may(
            "previous_seal_keys",
            Kind::List(&Kind::Text),
            "Keys that were seal_key before: passwords that they sealed are still opened.",
        ),
        may("audit", Kind::Shape(&AUDIT), "What proves the logs, and what is not to be seen in them."),
        later("tools"),
    ],
    shared: &[],
};

pub static AUDIT: Shape = Shape {
    name: "audit",
    about: "What proves the logs of the runs, and what is not to be seen in them.",
    keys: &[
        may(
            "key",
            Kind::Text,
            "The key that the records of a log are chained with (default: none with NATS; the embedded broker makes one).",
        ),
        may(
            "previous_keys",
            Kind::List(&Kind::Text),
            "Keys that were `key` before: what they chained is still verified.",
        ),
        may("anchors", Kind::Text, "The folder where the end of each log is noted (default audit in the data folder)."),
        may(
            "redact",
            Kind::Shape(&REDACT),
            "What is not to be seen: in the audit, on pages, and in logs of ended runs.",
        ),
        may(
            "keep_evidence",
            Kind::Duration,
            "How long it is kept what a removed run was, and who removed it (default 365d, 7d or longer).",
        ),
    ],
    shared: &[],
};

pub static REDACT: Shape = Shape {
    name: "redaction",
    about: "What is not to be seen.",
    keys: &[
        may("fields", Kind::List(&Kind::Text), "Fields of parameters, answers, results and arguments, by their names."),
        may("patterns", Kind::List(&Kind::Text), "Regular expressions: whatever they match in any text."),
    ],
    shared: &[],
};

pub static NATS: Shape = Shape {
    name: "nats",
    about: "The NATS server.",
    keys: &[
        may("url", Kind::Text, "Its address or addresses, separated by commas (default nats://127.0.0.1:4222)."),
        may("user", Kind::Text, "User name."),
        may("password", Kind::Text, "Password."),
        may("token", Kind::Text, "Token, instead of a user."),
        may("nkey_seed_file", Kind::Text, "A file with an nkey seed, instead."),
        may("credentials_file", Kind::Text, "A .creds file, instead."),
        may("tls", Kind::Shape(&TLS), "TLS."),
        may("replicas", Kind::Whole(1), "Copies of each stream that is made (default 1; 3 in a cluster)."),
        may(
            "connect_wait",
            Kind::Duration,
            "How long to wait at the start for a server that cannot be reached (default 30s).",
        ),
        may(
            "cleaner",
            Kind::Shape(&NATS_LOGIN),
            "The login that may purge, for one worker, where the tiers' logins may not (default: this login).",
        ),
        may(
            "python",
            Kind::Shape(&NATS_LOGIN),
            "The login in the account of FastAgency's Python tiers, where they have an account (default: this login).",
        ),
    ],
    shared: &[],
};

pub static NATS_LOGIN: Shape = Shape {
    name: "NATS login",
    about: "Another login at the same NATS server.",
    keys: &[
        may("user", Kind::Text, "User name."),
        may("password", Kind::Text, "Password."),
        may("token", Kind::Text, "Token, instead of a user."),
        may("nkey_seed_file", Kind::Text, "A file with an nkey seed, instead."),
        may("credentials_file", Kind::Text, "A .creds file, instead."),
    ],
    shared: &[],
};

pub static TLS: Shape = Shape {
    name: "tls",
    about: "TLS to the NATS server.",
    keys: &[
        may("required", Kind::Bool, "Refuse a connection without TLS (default false)."),
        may("ca_file", Kind::Text, "Authorities to trust beside the system's."),
        may("cert_file", Kind::Text, "Our certificate, for servers that ask for one."),
        may("key_file", Kind::Text, "Its key."),
    ],
    shared: &[],
};

pub static LLM: Shape = Shape {
    name: "model",
    about: "A model: who serves it, and what each request says.",
    keys: &[
        must(
            "provider",
            Kind::OneOf(&["openai", "azure", "anthropic", "gemini", "compatible", "scripted"]),
            "Who serves it.",
        ),
        may("model", Kind::Text, "Its name, as the provider knows it."),
        may(
            "api_key",
            Kind::Text,
            "The key (default by provider: ${OPENAI_API_KEY:-}, ${AZURE_OPENAI_API_KEY:-}, ${ANTHROPIC_API_KEY:-} or ${GEMINI_API_KEY:-}).",
        ),
        may("token", Kind::Text, "A bearer token instead of a key, for azure, anthropic and gemini."),
        may("token_file", Kind::Text, "A file with a bearer token that somebody renews; it is read again and again."),
        may(
            "token_command",
            Kind::Some(&Kind::Text),
            "A program and its arguments that print a bearer token; it is run again every 5 minutes, and when a token is refused.",
        ),
        may("base_url", Kind::Text, "Where the interface begins (azure and compatible have no default)."),
        may("deployment", Kind::Text, "azure: what the deployment is called (default: as the model)."),
        may(
            "api_version",
            Kind::Text,
            "azure: the version of the interface (default 2024-10-21); anthropic: 2023-06-01.",
        ),
        may("stream", Kind::Bool, "Whether the answer is streamed (default true)."),
        may("timeout", Kind::Either(&[Kind::Duration, Kind::Shape(&TIMEOUT)]), "How long a request may take."),
        may("max_retries", Kind::Whole(0), "How often a failed request is tried again (default 2)."),
        may("fallback", Kind::List(&Kind::Name), "Models to ask, in this order, when this one fails."),
        may(
            "routing_method",
            Kind::OneOf(&["fixed_order", "round_robin"]),
            "Whom each request asks first: always this model (default), or in turn this one and those in `fallback`.",
        ),
        may("script", Kind::List(&Kind::Any), "The replies of a scripted model (default: it makes them up)."),
        may("rate", Kind::Shape(&RATE), "How often it may be asked, by all workers together (default: no limit)."),
        later("retry"),
    ],
    shared: REQUEST_PARAMETERS,
};

pub static RATE: Shape = Shape {
    name: "rate",
    about: "How often a model may be asked, by all workers together; a request that finds no room waits.",
    keys: &[
        may("requests_per_minute", Kind::Whole(1), "Requests in any minute, retries included."),
        may("tokens_per_minute", Kind::Whole(1), "Tokens in any minute, read and written."),
    ],
    shared: &[],
};

pub static PRICE: Shape = Shape {
    name: "price",
    about: "What a million tokens of a model cost, in US dollars.",
    keys: &[
        must("input", Kind::Number, "Tokens read."),
        must("output", Kind::Number, "Tokens written, those of reasoning included."),
        may("cached_input", Kind::Number, "Tokens read from the provider's cache (default: as input)."),
        may("cache_write", Kind::Number, "Tokens put into the provider's cache (default: as input)."),
    ],
    shared: &[],
};

pub static TIMEOUT: Shape = Shape {
    name: "timeout",
    about: "How long a request may take.",
    keys: &[
        may("first_token", Kind::Duration, "Until the first byte of the answer (default 300s)."),
        may("idle", Kind::Duration, "Between two pieces of it (default 120s)."),
        may("total", Kind::Duration, "All in all (default 600s)."),
    ],
    shared: &[],
};

pub static GATEWAY: Shape = Shape {
    name: "gateway",
    about: "The gateway.",
    keys: &[
        may("host", Kind::Text, "The address it listens on (default 127.0.0.1)."),
        may("port", Kind::Whole(1), "Its port (default 8008)."),
        may("static_dir", Kind::Text, "A folder of your own front end, served at /."),
        may("limits", Kind::Shape(&GATEWAY_LIMITS), "What one caller may take of it."),
        may(
            "signing_key",
            Kind::Text,
            "The secret that it signs with what it does for its users (default: nothing is signed).",
        ),
        may(
            "trusted_definition_keys",
            Kind::List(&Kind::Text),
            "The public keys of the workers whose workflows it starts (default: what any worker announces).",
        ),
    ],
    shared: &[],
};

/// The limits that a gateway and a page share.
const CONNECTIONS: Key = may("connections", Kind::Whole(1), "Connections at once, in all (default 20000).");
const CONNECTIONS_PER_ADDRESS: Key = may(
    "connections_per_address",
    Kind::Whole(0),
    "Connections of one address at once (default 1000; 0: no limit); auth.proxies have no limit.",
);

pub static GATEWAY_LIMITS: Shape = Shape {
    name: "limits",
    about: "What one caller may take: a user, or an address where nobody is asked who calls.",
    keys: &[
        may("starts_per_minute", Kind::Whole(1), "Runs started in a minute."),
        may("starts_per_hour", Kind::Whole(0), "Runs started in an hour (default 10000; 0: no limit)."),
        may(
            "bytes_per_hour",
            Kind::Size,
            "What parameters and answers may add to the store in an hour (default 256MiB; 0: no limit).",
        ),
        may("requests_per_minute", Kind::Whole(1), "Requests in a minute, of whatever kind."),
        may("messages_per_minute", Kind::Whole(1), "Answers in a minute, over REST and sockets."),
        may("sockets", Kind::Whole(0), "Sockets that are open at once (default 1000; 0: no limit)."),
        may("streams", Kind::Whole(0), "Streams of events that are open at once (default 1000; 0: no limit)."),
        may("open_runs", Kind::Whole(1), "Runs that have not ended."),
        CONNECTIONS,
        CONNECTIONS_PER_ADDRESS,
    ],
    shared: &[],
};

pub static UI_LIMITS: Shape = Shape {
    name: "limits",
    about: "What one address may take of the page.",
    keys: &[CONNECTIONS, CONNECTIONS_PER_ADDRESS],
    shared: &[],
};

pub static UI: Shape = Shape {
    name: "ui",
    about: "The chat page.",
    keys: &[
        may("host", Kind::Text, "The address it listens on (default 127.0.0.1)."),
        may("port", Kind::Whole(1), "Its port (default 8888)."),
        may("title", Kind::Text, "The page's title (default: the project's name)."),
        may("logo", Kind::Text, "A picture beside the title: an .svg, .png, .jpg or .webp file."),
        may("css", Kind::Text, "A style sheet that is applied after the page's own; --accent is its colour."),
        may("footer", Kind::Text, "A sentence below everything."),
        may("links", Kind::List(&Kind::Shape(&LINK)), "Links below everything."),
        may(
            "embed_in",
            Kind::List(&Kind::Text),
            "The sites that may show the page in a frame, as https://example.org.",
        ),
        may("gateway_url", Kind::Text, "Where the gateway is (default http://127.0.0.1 and the gateway's port)."),
        may("public_url", Kind::Text, "Where browsers find the page, like https://chat.example.com."),
        may(
            "session_key",
            Kind::Text,
            "What the cookies of logins are sealed with: at least 32 characters (default: made once, and kept in data_dir).",
        ),
        may(
            "previous_session_keys",
            Kind::List(&Kind::Text),
            "Keys that were session_key before: their cookies count until they end.",
        ),
        may("session_lifetime", Kind::Duration, "How long a login lasts (default 12h)."),
        may("limits", Kind::Shape(&UI_LIMITS), "How many connections it takes."),
    ],
    shared: &[],
};

pub static LINK: Shape = Shape {
    name: "link",
    about: "A link of the page.",
    keys: &[
        must("title", Kind::Text, "Its words."),
        must("url", Kind::Text, "Its address: https://…, mailto:… or /…."),
    ],
    shared: &[],
};

pub static WORKER: Shape = Shape {
    name: "worker",
    about: "The worker.",
    keys: &[
        may("max_runs", Kind::Whole(1), "Runs in memory at once, at most (default 10000)."),
        may("park_after", Kind::Duration, "How long a run that only waits is kept in memory (default 60s)."),
        may("max_run_bytes", Kind::Size, "What the log of one run may hold (default 64MiB; 0: no limit)."),
        may("lease", Kind::Duration, "How long a worker that says nothing is believed to live (default 10s)."),
        may(
            "trusted_gateways",
            Kind::List(&Kind::Text),
            "The public keys of the gateways whose signatures are accepted (default: every process that can write to the broker is trusted).",
        ),
        may(
            "signing_key",
            Kind::Text,
            "The secret that it signs with what workflows start (default: nothing is signed).",
        ),
        may(
            "definition_key",
            Kind::Text,
            "The secret that it signs its workflows with (default: they are not signed).",
        ),
        may(
            "trusted_definition_keys",
            Kind::List(&Kind::Text),
            "The public keys of the workers whose workflows it executes (default: what any worker announces).",
        ),
    ],
    shared: &[],
};

pub static METRICS: Shape = Shape {
    name: "metrics",
    about: "Where each tier shows its figures to Prometheus, and says whether it lives and is ready.",
    keys: &[
        may("listen", Kind::Text, "An address and a port, e.g. 127.0.0.1:9464 (default: figures are shown nowhere)."),
        may("token", Kind::Text, "What a scrape must show; needed where others can reach the address."),
    ],
    shared: &[],
};

pub static TELEMETRY: Shape = Shape {
    name: "telemetry",
    about: "What is sent to OpenTelemetry.",
    keys: &[may("otlp", Kind::Shape(&OTLP), "Traces.")],
    shared: &[],
};

pub static OTLP: Shape = Shape {
    name: "otlp",
    about: "A collector that traces are sent to by OTLP over HTTP.",
    keys: &[
        may(
            "endpoint",
            Kind::Text,
            "Its address (default: OTEL_EXPORTER_OTLP_ENDPOINT; without either there are no traces).",
        ),
        may("headers", Kind::Table(&Kind::Text), "Headers that it wants to see, such as a key."),
        may("sample", Kind::Number, "Which part of the traces that begin here is kept, 0 to 1 (default 1)."),
        may("content", Kind::Bool, "Whether spans hold prompts and replies (default false)."),
    ],
    shared: &[],
};

pub static WEBHOOK: Shape = Shape {
    name: "webhook",
    about: "A program that gets notices about runs.",
    keys: &[
        must("url", Kind::Text, "Where notices are sent to, by POST."),
        must("secret", Kind::Text, "What they are signed with, as Standard Webhooks has it."),
        may("on", Kind::List(&Kind::OneOf(&["waiting", "ended"])), "When (default: both)."),
        may("redact", Kind::Bool, "Whether what `audit.redact` names is taken out of notices, too (default true)."),
    ],
    shared: &[],
};

pub static AUTH: Shape = Shape {
    name: "auth",
    about: "Who may call the gateway.",
    keys: &[
        must(
            "mode",
            Kind::OneOf(&["none", "basic", "api_key", "jwt", "oidc", "trusted_header"]),
            "How callers prove who they are.",
        ),
        may("open", Kind::Bool, "With mode none: other machines may call, too (default false)."),
        may("file", Kind::Text, "The file of users and keys, kept by `fastagency user` and `fastagency key`."),
        may("token", Kind::Shape(&TOKEN), "Tokens that POST /token gives for a password (mode basic)."),
        may("jwt", Kind::Shape(&JWT), "Tokens that another server signs (mode jwt)."),
        may("oidc", Kind::Shape(&OIDC), "The OpenID provider where people log in (mode oidc)."),
        may("trusted_header", Kind::Shape(&TRUSTED_HEADER), "Headers that a proxy sends (mode trusted_header)."),
        may("admins", Kind::Shape(&MEMBERS), "Who may see, stop and remove everybody's runs."),
        may("auditors", Kind::Shape(&MEMBERS), "Who may read everybody's runs in the audit; admins may, too."),
        may("access", Kind::List(&Kind::Shape(&ACCESS)), "Who may do what (default: everybody starts everything)."),
        may("origins", Kind::List(&Kind::Text), "Other origins whose pages may call, like https://chat.example.com."),
        may(
            "proxies",
            Kind::List(&Kind::Text),
            "Proxies whose X-Forwarded-For and X-Forwarded-Host are believed, like 10.0.0.0/8 (default: this machine).",
        ),
    ],
    shared: &[],
};

pub static TOKEN: Shape = Shape {
    name: "token",
    about: "Tokens that are given for a password.",
    keys: &[
        must("secret", Kind::Text, "What they are signed with: at least 32 characters."),
        may(
            "previous_secrets",
            Kind::List(&Kind::Text),
            "Secrets that were `secret` before: their tokens count until they end.",
        ),
        may("lifetime", Kind::Duration, "How long one counts (default 30m)."),
    ],
    shared: &[],
};

pub static JWT: Shape = Shape {
    name: "jwt",
    about: "Tokens that another server signs. One of secret, public_key_file and jwks_url.",
    keys: &[
        must(
            "algorithms",
            Kind::Some(&Kind::Text),
            "The algorithms that are accepted: HS256, RS256, PS256, ES256, EdDSA…",
        ),
        may("secret", Kind::Text, "The secret that they are signed with."),
        may("public_key_file", Kind::Text, "The public key that checks them, in PEM."),
        may("jwks_url", Kind::Text, "Where the public keys are (JWKS)."),
        may("issuer", Kind::Text, "The issuer that they must name."),
        may("audience", Kind::Text, "The audience that they must name."),
        may("leeway", Kind::Duration, "How far clocks may differ (default 60s)."),
        may("user_claim", Kind::Text, "The claim that is the user (default sub)."),
        may("groups_claim", Kind::Text, "The claim that lists the user's groups (default groups)."),
        may(
            "accept_unverified_email",
            Kind::Bool,
            "Take an e-mail address as user_claim without email_verified: true (default false; people who can write their address at the provider can then be anybody).",
        ),
    ],
    shared: &[],
};

pub static OIDC: Shape = Shape {
    name: "provider of identities",
    about: "An OpenID provider: the page sends people there to log in, by the code flow with PKCE.",
    keys: &[
        must(
            "issuer",
            Kind::Text,
            "Its issuer, like https://id.example.com/realms/acme; the rest is discovered there.",
        ),
        must("client_id", Kind::Text, "What it knows this program as."),
        may("client_secret", Kind::Text, "The program's secret there (default: a public client, which has none)."),
        may("scopes", Kind::List(&Kind::Text), "What is asked for (default openid, profile and email)."),
        may("user_claim", Kind::Text, "The claim that is the user (default sub)."),
        may("groups_claim", Kind::Text, "The claim that lists the user's groups (default groups)."),
        may(
            "accept_unverified_email",
            Kind::Bool,
            "Take an e-mail address as user_claim without email_verified: true (default false; people who can write their address at the provider can then be anybody).",
        ),
    ],
    shared: &[],
};

pub static TRUSTED_HEADER: Shape = Shape {
    name: "trusted_header",
    about: "Headers in which a proxy says who calls.",
    keys: &[
        must("user", Kind::Text, "The header with the user, like X-Forwarded-User."),
        may("groups", Kind::Text, "The header with the user's groups, separated by commas."),
        must("from", Kind::Some(&Kind::Text), "The proxies that may send them, like 10.0.0.0/8."),
    ],
    shared: &[],
};

pub static MEMBERS: Shape = Shape { name: "members", about: "Some users and groups.", keys: MEMBER_KEYS, shared: &[] };

pub static ACCESS: Shape = Shape {
    name: "rule",
    about: "Who may do what with which workflows: everybody, unless users or groups are named.",
    keys: &[
        must("workflows", Kind::Some(&Kind::Text), "Names of workflows; * stands for anything."),
        may(
            "may",
            Kind::List(&Kind::OneOf(&["start", "see", "answer", "cancel"])),
            "What: start runs (the default), or see, answer and cancel those of others.",
        ),
    ],
    shared: MEMBER_KEYS,
};

const MEMBER_KEYS: &[Key] =
    &[may("users", Kind::List(&Kind::Text), "Users."), may("groups", Kind::List(&Kind::Text), "Groups.")];
