//! What `fastagency.yaml` may hold, as tables: the reader knows no other keys, and the JSON Schema for editors is made of them.

use serde_json::Value;

use super::model_shapes::{LLM, PRICE};
use crate::yaml::shape::{MapShape, ShapeKey, ValueKind, later, may, must};

/// The JSON Schema of `fastagency.yaml`.
pub fn json_schema() -> Value {
    CONFIG.json_schema("https://fastagency.dev/schemas/config.json", "The configuration of a fastagency project", true)
}

pub static CONFIG: MapShape = MapShape {
    name: "configuration",
    about: "The project: connection, models, tiers. `${VAR}`, `${VAR:-default}` and `${file:/path}` stand for values from outside.",
    keys: &[
        must("version", ValueKind::Only(1), "The version of the language: 1."),
        may("name", ValueKind::Text, "The project's name (default fastagency)."),
        may("nats", ValueKind::Shape(&NATS), "The NATS server."),
        may("workflows", ValueKind::Text, "The folder of workflows (default workflows)."),
        may(
            "llms",
            ValueKind::Map(&ValueKind::Shape(&LLM)),
            "The models by name; `default` is used where none is named.",
        ),
        may(
            "prices",
            ValueKind::Table(&ValueKind::Shape(&PRICE)),
            "What models cost, by the name that the provider knows a model by.",
        ),
        may("gateway", ValueKind::Shape(&GATEWAY), "The gateway."),
        may("ui", ValueKind::Shape(&UI), "The chat page."),
        may("worker", ValueKind::Shape(&WORKER), "The worker."),
        may("auth", ValueKind::Shape(&AUTH), "Who may call the gateway."),
        may("metrics", ValueKind::Shape(&METRICS), "Where metrics are shown to Prometheus."),
        may("telemetry", ValueKind::Shape(&TELEMETRY), "Where traces are sent."),
        may("data_dir", ValueKind::Text, "Where the embedded broker keeps its data (default data)."),
        may(
            "data_max_bytes",
            ValueKind::Size,
            "What the embedded broker's store may hold; a full one takes no more starts (default: what the disk can spare).",
        ),
        may("shutdown_grace", ValueKind::Duration, "How long a tier may take to end (default 10s)."),
        may("keep_ended", ValueKind::Duration, "How long an ended run is kept (default 30d)."),
        may("outgoing", ValueKind::Shape(&OUTGOING), "What workflows reach outside, by `http`."),
        may(
            "secrets",
            ValueKind::Map(&ValueKind::Shape(&SECRET)),
            "What requests of workflows may hold, as {{ secrets.NAME }}, and nobody else sees: no log, no model, no page.",
        ),
        may("python", ValueKind::Shape(&PYTHON), "How the functions of Python files are called that workflows name."),
        may(
            "commands",
            ValueKind::Map(&ValueKind::Shape(&COMMAND)),
            "The programs that tools of workflows may run, by name.",
        ),
        may(
            "mcp",
            ValueKind::Map(&ValueKind::Shape(&MCP_SERVER)),
            "Servers of the Model Context Protocol whose tools workflows may call.",
        ),
        may(
            "webhooks",
            ValueKind::Map(&ValueKind::Shape(&WEBHOOK)),
            "Programs that get a notice when a run waits for a person, nobody answers, or it has ended.",
        ),
        may(
            "seal_key",
            ValueKind::Text,
            "The key that seals passwords in the log (default: they live in memory only).",
        ),
        may(
            "previous_seal_keys",
            ValueKind::List(&ValueKind::Text),
            "Keys that were seal_key before: passwords that they sealed are still opened.",
        ),
        may("audit", ValueKind::Shape(&AUDIT), "What proves the logs, and what is not to be seen in them."),
        later("tools"),
    ],
    shared: &[],
};

pub static AUDIT: MapShape = MapShape {
    name: "audit",
    about: "What proves the logs of the runs, and what is not to be seen in them.",
    keys: &[
        may(
            "key",
            ValueKind::Text,
            "The key that the records of a log are chained with (default: none with NATS; the embedded broker makes one).",
        ),
        may(
            "previous_keys",
            ValueKind::List(&ValueKind::Text),
            "Keys that were `key` before: what they chained is still verified.",
        ),
        may(
            "anchors",
            ValueKind::Text,
            "The folder where the end of each log is noted (default audit in the data folder).",
        ),
        may(
            "redact",
            ValueKind::Shape(&REDACT),
            "What is not to be seen: in the audit, on pages, and in logs of ended runs.",
        ),
        may(
            "keep_evidence",
            ValueKind::Duration,
            "How long it is kept what a removed run was, and who removed it (default 365d, 7d or longer).",
        ),
    ],
    shared: &[],
};

pub static REDACT: MapShape = MapShape {
    name: "redaction",
    about: "What is not to be seen.",
    keys: &[
        may(
            "fields",
            ValueKind::List(&ValueKind::Text),
            "Fields of parameters, answers, results and arguments, by their names.",
        ),
        may("patterns", ValueKind::List(&ValueKind::Text), "Regular expressions: whatever they match in any text."),
    ],
    shared: &[],
};

pub static NATS: MapShape = MapShape {
    name: "nats",
    about: "The NATS server.",
    keys: &[
        may("url", ValueKind::Text, "Its address or addresses, separated by commas (default nats://127.0.0.1:4222)."),
        may("user", ValueKind::Text, "User name."),
        may("password", ValueKind::Text, "Password."),
        may("token", ValueKind::Text, "Token, instead of a user."),
        may("nkey_seed_file", ValueKind::Text, "A file with an nkey seed, instead."),
        may("credentials_file", ValueKind::Text, "A .creds file, instead."),
        may("tls", ValueKind::Shape(&TLS), "TLS."),
        may("replicas", ValueKind::Whole(1), "Copies of each stream that is made (default 1; 3 in a cluster)."),
        may(
            "connect_wait",
            ValueKind::Duration,
            "How long to wait at the start for a server that cannot be reached (default 30s).",
        ),
        may(
            "cleaner",
            ValueKind::Shape(&NATS_LOGIN),
            "The login that may purge, for one worker, where the tiers' logins may not (default: this login).",
        ),
        may(
            "python",
            ValueKind::Shape(&NATS_LOGIN),
            "The login in the account of FastAgency's Python tiers, where they have an account (default: this login).",
        ),
        may(
            "tools",
            ValueKind::Shape(&NATS_LOGIN),
            "The login that asks services for tools with `nats`, so that workflows reach nothing else (default: this login).",
        ),
    ],
    shared: &[],
};

pub static NATS_LOGIN: MapShape = MapShape {
    name: "NATS login",
    about: "Another login at the same NATS server.",
    keys: &[
        may("user", ValueKind::Text, "User name."),
        may("password", ValueKind::Text, "Password."),
        may("token", ValueKind::Text, "Token, instead of a user."),
        may("nkey_seed_file", ValueKind::Text, "A file with an nkey seed, instead."),
        may("credentials_file", ValueKind::Text, "A .creds file, instead."),
    ],
    shared: &[],
};

pub static TLS: MapShape = MapShape {
    name: "tls",
    about: "TLS to the NATS server.",
    keys: &[
        may("required", ValueKind::Bool, "Refuse a connection without TLS (default false)."),
        may("ca_file", ValueKind::Text, "Authorities to trust beside the system's."),
        may("cert_file", ValueKind::Text, "Our certificate, for servers that ask for one."),
        may("key_file", ValueKind::Text, "Its key."),
    ],
    shared: &[],
};

pub static GATEWAY: MapShape = MapShape {
    name: "gateway",
    about: "The gateway.",
    keys: &[
        may("host", ValueKind::Text, "The address it listens on (default 127.0.0.1)."),
        may("port", ValueKind::Whole(1), "Its port (default 8008)."),
        may("static_dir", ValueKind::Text, "A folder of your own front end, served at /."),
        may("limits", ValueKind::Shape(&GATEWAY_LIMITS), "What one caller may take of it."),
        may(
            "signing_key",
            ValueKind::Text,
            "The secret that it signs with what it does for its users (default: nothing is signed).",
        ),
        may(
            "trusted_definition_keys",
            ValueKind::List(&ValueKind::Text),
            "The public keys of the workers whose workflows it starts (default: what any worker announces).",
        ),
    ],
    shared: &[],
};

/// The limits that a gateway and a page share.
const CONNECTIONS: ShapeKey = may("connections", ValueKind::Whole(1), "Connections at once, in all (default 20000).");
const CONNECTIONS_PER_ADDRESS: ShapeKey = may(
    "connections_per_address",
    ValueKind::Whole(0),
    "Connections of one address at once (default 1000; 0: no limit); auth.proxies have no limit.",
);

pub static GATEWAY_LIMITS: MapShape = MapShape {
    name: "limits",
    about: "What one caller may take: a user, or an address where nobody is asked who calls.",
    keys: &[
        may("starts_per_minute", ValueKind::Whole(1), "Runs started in a minute."),
        may("starts_per_hour", ValueKind::Whole(0), "Runs started in an hour (default 10000; 0: no limit)."),
        may(
            "bytes_per_hour",
            ValueKind::Size,
            "What parameters and answers may add to the store in an hour (default 256MiB; 0: no limit).",
        ),
        may("requests_per_minute", ValueKind::Whole(1), "Requests in a minute, of whatever kind."),
        may("messages_per_minute", ValueKind::Whole(1), "Answers in a minute, over REST and sockets."),
        may("sockets", ValueKind::Whole(0), "Sockets that are open at once (default 1000; 0: no limit)."),
        may("streams", ValueKind::Whole(0), "Streams of events that are open at once (default 1000; 0: no limit)."),
        may("open_runs", ValueKind::Whole(1), "Runs that have not ended."),
        CONNECTIONS,
        CONNECTIONS_PER_ADDRESS,
    ],
    shared: &[],
};

pub static UI_LIMITS: MapShape = MapShape {
    name: "limits",
    about: "What one address may take of the page.",
    keys: &[CONNECTIONS, CONNECTIONS_PER_ADDRESS],
    shared: &[],
};

pub static UI: MapShape = MapShape {
    name: "ui",
    about: "The chat page.",
    keys: &[
        may("host", ValueKind::Text, "The address it listens on (default 127.0.0.1)."),
        may("port", ValueKind::Whole(1), "Its port (default 8888)."),
        may("title", ValueKind::Text, "The page's title (default: the project's name)."),
        may("logo", ValueKind::Text, "A picture beside the title: an .svg, .png, .jpg or .webp file."),
        may("css", ValueKind::Text, "A style sheet that is applied after the page's own; --accent is its colour."),
        may("footer", ValueKind::Text, "A sentence below everything."),
        may("links", ValueKind::List(&ValueKind::Shape(&LINK)), "Links below everything."),
        may(
            "embed_in",
            ValueKind::List(&ValueKind::Text),
            "The sites that may show the page in a frame, as https://example.org.",
        ),
        may("gateway_url", ValueKind::Text, "Where the gateway is (default http://127.0.0.1 and the gateway's port)."),
        may(
            "public_url",
            ValueKind::Text,
            "Where browsers find the page, like https://chat.example.com or https://example.com/agents.",
        ),
        may(
            "session_key",
            ValueKind::Text,
            "What the cookies of logins are sealed with: at least 32 characters (default: made once, and kept in data_dir).",
        ),
        may(
            "previous_session_keys",
            ValueKind::List(&ValueKind::Text),
            "Keys that were session_key before: their cookies count until they end.",
        ),
        may("session_lifetime", ValueKind::Duration, "How long a login lasts (default 12h)."),
        may("limits", ValueKind::Shape(&UI_LIMITS), "How many connections it takes."),
    ],
    shared: &[],
};

pub static LINK: MapShape = MapShape {
    name: "link",
    about: "A link of the page.",
    keys: &[
        must("title", ValueKind::Text, "Its words."),
        must("url", ValueKind::Text, "Its address: https://…, mailto:… or /…."),
    ],
    shared: &[],
};

pub static WORKER: MapShape = MapShape {
    name: "worker",
    about: "The worker.",
    keys: &[
        may("max_runs", ValueKind::Whole(1), "Runs in memory at once, at most (default 10000)."),
        may("park_after", ValueKind::Duration, "How long a run that only waits is kept in memory (default 60s)."),
        may("max_run_bytes", ValueKind::Size, "What the log of one run may hold (default 64MiB; 0: no limit)."),
        may("lease", ValueKind::Duration, "How long a worker that says nothing is believed to live (default 10s)."),
        may(
            "trusted_gateways",
            ValueKind::List(&ValueKind::Text),
            "The public keys of the gateways whose signatures are accepted (default: every process that can write to the broker is trusted).",
        ),
        may(
            "signing_key",
            ValueKind::Text,
            "The secret that it signs with what workflows start (default: nothing is signed).",
        ),
        may(
            "definition_key",
            ValueKind::Text,
            "The secret that it signs its workflows with (default: they are not signed).",
        ),
        may(
            "trusted_definition_keys",
            ValueKind::List(&ValueKind::Text),
            "The public keys of the workers whose workflows it executes (default: what any worker announces).",
        ),
    ],
    shared: &[],
};

pub static SECRET: MapShape = MapShape {
    name: "secret",
    about: "A secret, where it comes from, and who may get it: `hosts`, `tools` or both. One of value, file, command, username, oauth, from and certificate.",
    keys: &[
        may("value", ValueKind::Text, "What nobody else sees, like ${BILLING_KEY}."),
        may("file", ValueKind::Text, "A file that holds it, which is read again for each request."),
        may("command", ValueKind::Some(&ValueKind::Text), "A program and its arguments; it prints the secret."),
        may("refresh", ValueKind::Duration, "How long what the command printed is used (default 5m)."),
        may("username", ValueKind::Text, "A user, for HTTP basic authentication."),
        may("password", ValueKind::Text, "The password of the user."),
        may("oauth", ValueKind::Shape(&OAUTH), "How a token is asked for; it is renewed before it expires."),
        may(
            "from",
            ValueKind::OneOf(&["caller"]),
            "caller: the access token of the person whose run it is, as the gateway was shown it (auth.mode jwt or oidc).",
        ),
        may("certificate", ValueKind::Text, "A certificate of the client (mutual TLS): a file in PEM."),
        may("key", ValueKind::Text, "The key of the certificate: a file in PEM."),
        may(
            "hosts",
            ValueKind::Some(&ValueKind::Text),
            "The hosts that it may be sent to (*.example.com for all below), and no others.",
        ),
        may(
            "tools",
            ValueKind::Shape(&SECRET_TOOLS),
            "The tools that it may be an argument of (`inject`), and no others.",
        ),
    ],
    shared: &[],
};

pub static SECRET_TOOLS: MapShape = MapShape {
    name: "secret_tools",
    about: "The tools that a secret may be an argument of, by what they call. Of APIs and servers, `hosts` says it.",
    keys: &[
        may("command", ValueKind::Some(&ValueKind::Text), "Programs, by their names in `commands`."),
        may("python", ValueKind::Some(&ValueKind::Text), "Python files of the project, like tools.py."),
        may("mcp", ValueKind::Some(&ValueKind::Text), "Servers, by their names in `mcp`."),
        may("nats", ValueKind::Some(&ValueKind::Text), "Subjects of services on NATS, like orders.lookup or orders.>."),
    ],
    shared: &[],
};

pub static OAUTH: MapShape = MapShape {
    name: "oauth",
    about: "How a token of OAuth 2.0 is asked for.",
    keys: &[
        may(
            "token_url",
            ValueKind::Text,
            "Where tokens are given (default: where the issuer says, or the specification of the API, if that host is one of `hosts`).",
        ),
        may(
            "issuer",
            ValueKind::Text,
            "The server that gives tokens: it says where its endpoints are (RFC 8414, OpenID Connect Discovery).",
        ),
        may(
            "flow",
            ValueKind::OneOf(&["client_credentials", "authorization_code", "password", "refresh_token"]),
            "What the token is given for (default client_credentials, of an MCP server authorization_code). authorization_code: a person signs in with `fastagency login`.",
        ),
        may("client_id", ValueKind::Text, "What the server knows this program as."),
        may("client_secret", ValueKind::Text, "The secret of this program there."),
        may(
            "client_auth",
            ValueKind::OneOf(&["header", "body"]),
            "Where client_id and client_secret are sent (default header: HTTP basic authentication).",
        ),
        may(
            "scopes",
            ValueKind::List(&ValueKind::Text),
            "What the token is to allow (default: what the operation that is called asks for).",
        ),
        may("username", ValueKind::Text, "The user of the flow password."),
        may("password", ValueKind::Text, "The password of the flow password."),
        may("refresh_token", ValueKind::Text, "The token of the flow refresh_token."),
        may("authorization_url", ValueKind::Text, "Where people sign in (default: where the issuer says)."),
        may(
            "device_url",
            ValueKind::Text,
            "Where `fastagency login --device` asks for a code (default: where the issuer says).",
        ),
        may(
            "revocation_url",
            ValueKind::Text,
            "Where `fastagency logout` ends a login (default: where the issuer says).",
        ),
        may(
            "redirect_url",
            ValueKind::Text,
            "Where the browser comes back to after the login: an address of this machine (default http://127.0.0.1/callback at a free port).",
        ),
        may(
            "parameters",
            ValueKind::Table(&ValueKind::Text),
            "What the server wants to be sent beside, such as an audience.",
        ),
    ],
    shared: &[],
};

pub static OUTGOING: MapShape = MapShape {
    name: "outgoing",
    about: "What workflows reach outside.",
    keys: &[
        may(
            "allow_private",
            ValueKind::List(&ValueKind::Text),
            "Hosts (*.internal for all below), addresses and networks that are not public and may be asked all the same (default: none, this machine included).",
        ),
        may(
            "allow_hosts",
            ValueKind::List(&ValueKind::Text),
            "Hosts (*.example.com for all below), addresses and networks that a server may redirect to when something is only read; nothing that was for that server goes along (default: none).",
        ),
        may(
            "proxy",
            ValueKind::Text,
            "The proxy that these requests go through (default: none, whatever the environment says).",
        ),
    ],
    shared: &[],
};

pub static COMMAND: MapShape = MapShape {
    name: "command",
    about: "A program that a tool runs: the arguments come on its standard input, and what it prints is the result.",
    keys: &[
        must(
            "run",
            ValueKind::Some(&ValueKind::Text),
            "The program and its arguments, each an item. No shell reads them.",
        ),
        may("env", ValueKind::Table(&ValueKind::Text), "Its environment, beside PATH, HOME, LANG and TMPDIR."),
        may("folder", ValueKind::Text, "Where it runs (default: an empty folder of its own)."),
        may(
            "stdin",
            ValueKind::OneOf(&["json", "code"]),
            "What it gets on its standard input: the arguments as JSON (default), or the argument `code` as it is.",
        ),
        may(
            "sandbox",
            ValueKind::OneOf(&["none", "bwrap", "docker", "podman"]),
            "Where it is confined. Must be said with `stdin: code`: a model wrote what runs.",
        ),
        may("image", ValueKind::Text, "The image of the container (with docker and podman)."),
    ],
    shared: &[],
};

pub static PYTHON: MapShape = MapShape {
    name: "python",
    about: "How the functions of Python files are called that workflows name.",
    keys: &[
        may(
            "interpreter",
            ValueKind::Either(&[ValueKind::Text, ValueKind::Some(&ValueKind::Text)]),
            "The program that is Python, alone or with arguments, like [uv, run, python] (default: .venv/bin/python in the folder, or python3).",
        ),
        may("folder", ValueKind::Text, "The folder that these files lie in (default: that of this file)."),
        may(
            "env",
            ValueKind::Table(&ValueKind::Text),
            "What its environment holds, beside PATH, HOME, LANG and TMPDIR; what comes from a ${VAR}, and keys and tokens, are hidden in logs and results.",
        ),
    ],
    shared: &[],
};

pub static MCP_SERVER: MapShape = MapShape {
    name: "MCP server",
    about: "A server of the Model Context Protocol: a program that the worker starts, or an address.",
    keys: &[
        may(
            "command",
            ValueKind::Some(&ValueKind::Text),
            "The program and its arguments; the worker starts it, and talks to it over its standard input and output.",
        ),
        may(
            "env",
            ValueKind::Table(&ValueKind::Text),
            "The program's environment, besides PATH, HOME, LANG and TMPDIR.",
        ),
        may("folder", ValueKind::Text, "The folder that the program is started in (default: the folder of this file)."),
        may("url", ValueKind::Text, "The server's address, like https://mcp.example.com/mcp."),
        may("headers", ValueKind::Table(&ValueKind::Text), "Headers of each request, such as a key."),
        may("auth", ValueKind::Text, "The secret of `secrets` that each request shows as its token."),
        may(
            "oauth",
            ValueKind::Shape(&OAUTH),
            "How the token of each request is asked for. `{}`: a person signs in with `fastagency login`, and the server says where.",
        ),
        may(
            "timeout",
            ValueKind::Duration,
            "How long the server may take without a sign of life; progress is one (default 60s).",
        ),
        may("total", ValueKind::Duration, "How long a call may take in all (default 10m)."),
        may(
            "only",
            ValueKind::Some(&ValueKind::Text),
            "The tools that workflows may call, by the server's names (default: all).",
        ),
        may(
            "protocol",
            ValueKind::OneOf(&["2026-07-28", "2025-11-25"]),
            "The revision of the protocol (default: the newest that both speak, found out by asking).",
        ),
    ],
    shared: &[],
};

pub static METRICS: MapShape = MapShape {
    name: "metrics",
    about: "Where each tier shows its metrics to Prometheus, and says whether it lives and is ready.",
    keys: &[
        may(
            "listen",
            ValueKind::Text,
            "An address and a port, e.g. 127.0.0.1:9464 (default: metrics are shown nowhere).",
        ),
        may("token", ValueKind::Text, "What a scrape must show; needed where others can reach the address."),
    ],
    shared: &[],
};

pub static TELEMETRY: MapShape = MapShape {
    name: "telemetry",
    about: "What is sent to OpenTelemetry.",
    keys: &[may("otlp", ValueKind::Shape(&OTLP), "Traces.")],
    shared: &[],
};

pub static OTLP: MapShape = MapShape {
    name: "otlp",
    about: "A collector that traces are sent to by OTLP over HTTP.",
    keys: &[
        may(
            "endpoint",
            ValueKind::Text,
            "Its address (default: OTEL_EXPORTER_OTLP_ENDPOINT; without either there are no traces).",
        ),
        may("headers", ValueKind::Table(&ValueKind::Text), "Headers that it wants to see, such as a key."),
        may("sample", ValueKind::Number, "Which part of the traces that begin here is kept, 0 to 1 (default 1)."),
        may("content", ValueKind::Bool, "Whether spans hold prompts and replies (default false)."),
    ],
    shared: &[],
};

pub static WEBHOOK: MapShape = MapShape {
    name: "webhook",
    about: "A program that gets notices about runs.",
    keys: &[
        must("url", ValueKind::Text, "Where notices are sent to, by POST."),
        must("secret", ValueKind::Text, "What they are signed with, as Standard Webhooks has it."),
        may(
            "on",
            ValueKind::List(&ValueKind::OneOf(&["waiting", "reminded", "escalated", "ended"])),
            "When (default: all of them).",
        ),
        may(
            "redact",
            ValueKind::Bool,
            "Whether what `audit.redact` names is taken out of notices, too (default true).",
        ),
    ],
    shared: &[],
};

pub static AUTH: MapShape = MapShape {
    name: "auth",
    about: "Who may call the gateway.",
    keys: &[
        must(
            "mode",
            ValueKind::OneOf(&["none", "basic", "api_key", "jwt", "oidc", "trusted_header"]),
            "How callers prove who they are.",
        ),
        may("open", ValueKind::Bool, "With mode none: other machines may call, too (default false)."),
        may("file", ValueKind::Text, "The file of users and keys, kept by `fastagency user` and `fastagency key`."),
        may("token", ValueKind::Shape(&TOKEN), "Tokens that POST /token gives for a password (mode basic)."),
        may("jwt", ValueKind::Shape(&JWT), "Tokens that another server signs (mode jwt)."),
        may("oidc", ValueKind::Shape(&OIDC), "The OpenID provider where people log in (mode oidc)."),
        may("trusted_header", ValueKind::Shape(&TRUSTED_HEADER), "Headers that a proxy sends (mode trusted_header)."),
        may("admins", ValueKind::Shape(&MEMBERS), "Who may see, stop and remove everybody's runs."),
        may("auditors", ValueKind::Shape(&MEMBERS), "Who may read everybody's runs in the audit; admins may, too."),
        may(
            "access",
            ValueKind::List(&ValueKind::Shape(&ACCESS)),
            "Who may do what (default: everybody starts everything).",
        ),
        may(
            "origins",
            ValueKind::List(&ValueKind::Text),
            "Other origins whose pages may call, like https://chat.example.com.",
        ),
        may(
            "proxies",
            ValueKind::List(&ValueKind::Text),
            "Proxies whose X-Forwarded-For and X-Forwarded-Host are believed, like 10.0.0.0/8 (default: this machine).",
        ),
    ],
    shared: &[],
};

pub static TOKEN: MapShape = MapShape {
    name: "token",
    about: "Tokens that are given for a password.",
    keys: &[
        must("secret", ValueKind::Text, "What they are signed with: at least 32 characters."),
        may(
            "previous_secrets",
            ValueKind::List(&ValueKind::Text),
            "Secrets that were `secret` before: their tokens count until they end.",
        ),
        may("lifetime", ValueKind::Duration, "How long one counts (default 30m)."),
    ],
    shared: &[],
};

pub static JWT: MapShape = MapShape {
    name: "jwt",
    about: "Tokens that another server signs. One of secret, public_key_file and jwks_url.",
    keys: &[
        must(
            "algorithms",
            ValueKind::Some(&ValueKind::Text),
            "The algorithms that are accepted: HS256, RS256, PS256, ES256, EdDSA…",
        ),
        may("secret", ValueKind::Text, "The secret that they are signed with."),
        may("public_key_file", ValueKind::Text, "The public key that checks them, in PEM."),
        may("jwks_url", ValueKind::Text, "Where the public keys are (JWKS)."),
        may("issuer", ValueKind::Text, "The issuer that they must name."),
        may("audience", ValueKind::Text, "The audience that they must name."),
        may("leeway", ValueKind::Duration, "How far clocks may differ (default 60s)."),
        may("user_claim", ValueKind::Text, "The claim that is the user (default sub)."),
        may("groups_claim", ValueKind::Text, "The claim that lists the user's groups (default groups)."),
        may(
            "accept_unverified_email",
            ValueKind::Bool,
            "Take an e-mail address as user_claim without email_verified: true (default false; people who can write their address at the provider can then be anybody).",
        ),
    ],
    shared: &[],
};

pub static OIDC: MapShape = MapShape {
    name: "provider of identities",
    about: "An OpenID provider: the page sends people there to log in, by the code flow with PKCE.",
    keys: &[
        must(
            "issuer",
            ValueKind::Text,
            "Its issuer, like https://id.example.com/realms/acme; the rest is discovered there.",
        ),
        must("client_id", ValueKind::Text, "What it knows this program as."),
        may("client_secret", ValueKind::Text, "The program's secret there (default: a public client, which has none)."),
        may("scopes", ValueKind::List(&ValueKind::Text), "What is asked for (default openid, profile and email)."),
        may("user_claim", ValueKind::Text, "The claim that is the user (default sub)."),
        may("groups_claim", ValueKind::Text, "The claim that lists the user's groups (default groups)."),
        may(
            "accept_unverified_email",
            ValueKind::Bool,
            "Take an e-mail address as user_claim without email_verified: true (default false; people who can write their address at the provider can then be anybody).",
        ),
    ],
    shared: &[],
};

pub static TRUSTED_HEADER: MapShape = MapShape {
    name: "trusted_header",
    about: "Headers in which a proxy says who calls.",
    keys: &[
        must("user", ValueKind::Text, "The header with the user, like X-Forwarded-User."),
        may("groups", ValueKind::Text, "The header with the user's groups, separated by commas."),
        must("from", ValueKind::Some(&ValueKind::Text), "The proxies that may send them, like 10.0.0.0/8."),
    ],
    shared: &[],
};

pub static MEMBERS: MapShape =
    MapShape { name: "members", about: "Some users and groups.", keys: MEMBER_KEYS, shared: &[] };

pub static ACCESS: MapShape = MapShape {
    name: "rule",
    about: "Who may do what with which workflows: everybody, unless users or groups are named.",
    keys: &[
        must("workflows", ValueKind::Some(&ValueKind::Text), "Names of workflows; * stands for anything."),
        may(
            "may",
            ValueKind::List(&ValueKind::OneOf(&["start", "see", "answer", "cancel"])),
            "What: start runs (the default), or see, answer and cancel those of others.",
        ),
    ],
    shared: MEMBER_KEYS,
};

const MEMBER_KEYS: &[ShapeKey] = &[
    may("users", ValueKind::List(&ValueKind::Text), "Users."),
    may("groups", ValueKind::List(&ValueKind::Text), "Groups."),
];
