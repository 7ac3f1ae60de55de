//! From what was typed to what the roles are made with: the configuration, the workflows, the broker, the models.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use ipnet::IpNet;
use secrecy::SecretString;
use tokio::net::{TcpListener, TcpSocket};

use crate::audit::verify::LogVerifier;
use crate::auth::{AdminLink, RequestFilter, UserDirectory};
use crate::broker::embedded;
use crate::broker::{Broker, nats};
use crate::chain::anchors::AnchorWriter;
use crate::cli::outcome::{CliError, shown};
use crate::cli::{CommonArguments, ListenArguments, VERSION};
use crate::client::GatewayClient;
use crate::clock;
use crate::config::{self, Config, ConfigSection, NatsConfig};
use crate::lifecycle::Lifecycle;
use crate::outside::OutsideServices;
use crate::problem::Problems;
use crate::project::{has_caller_tokens, load_config};
use crate::seal::Sealer;

use crate::signing::StatementSigner;
use crate::tokens::{self, SealedEntries, SharedTokenStore, TokenBackend, TokenBucket, TokenFolder};
use crate::workflow::SecretReceiver;
use crate::yaml::secrets;
use crate::{chain, gateway, model, serving, telemetry, ui, worker, workflow};

/// The variable with the key or token that a gateway is shown.
pub(super) const KEY: &str = "FASTAGENCY_KEY";
/// Connections that may wait to be accepted (the system has a limit of its own, often 4096): thousands of clients come back
/// at once when a gateway has been started again.
const BACKLOG: u32 = 4096;

/// Reads the configuration: the file that was named, else `fastagency.yaml` here, else the defaults.
pub(super) fn load(common: &CommonArguments) -> Result<Config, CliError> {
    let env = |name: &str| std::env::var(name).ok();
    let mut config = load_config(common.config.as_deref(), &env)?;
    if let Some(url) = &common.nats_url {
        config.override_nats_url(url);
    }
    Ok(config)
}

/// A client of a gateway, with the key of `FASTAGENCY_KEY`: from there only, as a command line can be read by everybody on
/// the machine.
pub(super) fn client(url: &str) -> Result<GatewayClient, CliError> {
    let key = std::env::var(KEY).ok().filter(|key| !key.is_empty()).map(SecretString::from);
    GatewayClient::with_key(url, key.as_ref()).map_err(|error| CliError::Unreachable(error.into()))
}

/// A client of the gateway that works in this data folder: without `FASTAGENCY_KEY`, with the token that the gateway has
/// written down there for the folder's owner.
pub(super) fn client_beside(url: &str, data_dir: &Path) -> Result<GatewayClient, CliError> {
    let kept = || embedded::admin_token(data_dir).map(SecretString::from);
    let given = std::env::var(KEY).ok().filter(|key| !key.is_empty()).map(SecretString::from);
    GatewayClient::with_key(url, given.or_else(kept).as_ref()).map_err(|error| CliError::Unreachable(error.into()))
}

/// A client of the gateway at an address; if that gateway works in the data folder here, as its owner.
pub(super) fn client_at(
    url: &str,
    common: &CommonArguments,
    named: Option<&PathBuf>,
) -> Result<GatewayClient, CliError> {
    let is_there = |dir: &PathBuf| {
        embedded::running_address(dir).is_some_and(|address| address.trim_end_matches('/') == url.trim_end_matches('/'))
    };
    match load(common).ok().map(|config| data_dir(&config, named)).filter(is_there) {
        Some(dir) => client_beside(url, &dir),
        None => client(url),
    }
}

/// Where no one is asked who calls: what opens audit, overview and erasure of this process. Beside an embedded store its
/// token is written down, so that the folder's owner can use other commands.
pub(super) fn admin_link(auth: &config::AuthConfig, folder: Option<&Path>) -> Result<Option<Arc<AdminLink>>, CliError> {
    if !matches!(auth.mode, config::AuthMode::None) {
        return Ok(None);
    }
    let link = AdminLink::new();
    if let Some(folder) = folder {
        embedded::write_admin_token(folder, link.token()).context("could not write the token of the admin link")?;
    }
    Ok(Some(Arc::new(link)))
}

/// The line that tells people of the admin link, if there is one; `page` is where the page is, as far as this process knows.
pub(super) fn admin_line(link: Option<&AdminLink>, page: Option<&str>) -> String {
    let Some(link) = link else { return String::new() };
    let path = format!("/admin#link={}", link.code());
    match page {
        Some(page) => format!("\nadmin: {}{path}", page.trim_end_matches('/')),
        None => format!("\nadmin: {path} at the address of the page, which is not known here (set ui.public_url)"),
    }
}

/// Where the page is for a process that does not serve it: what the configuration says of it.
pub(super) fn configured_page(ui: &config::UiConfig) -> Option<String> {
    let placed = || ui.is_placed.then(|| url_of(SocketAddr::new(ui.host, ui.port)));
    ui.public_url.clone().or_else(placed)
}

/// Refuses to listen to other machines where no one is asked who calls, unless the configuration allows it.
pub(super) fn check_reach(config: &Config, listeners: &[&TcpListener]) -> Result<(), CliError> {
    let filter = RequestFilter::new(&config.auth, config.ui.public_url.as_deref());
    for listener in listeners {
        let address = listener.local_addr().context("a listener has no address")?;
        filter.check_listener(address).map_err(|error| CliError::Usage(error.to_string()))?;
    }
    // An access file that cannot be read ends the start before the addresses are printed.
    if let Some(file) = &config.auth.file {
        UserDirectory::read(file).context("auth")?;
    }
    Ok(())
}

/// Connects to the NATS server that the configuration names, as this role.
pub(super) async fn connect(config: &Config, role: &str) -> Result<Broker, CliError> {
    Ok(nats::connect(config.nats()?, &nats_name(config, role)).await?)
}

/// How a process calls itself in the server's lists.
pub(super) fn nats_name(config: &Config, role: &str) -> String {
    format!("fastagency {role} ({})", config.name)
}

/// The data folder of the embedded broker.
pub(super) fn data_dir(config: &Config, named: Option<&PathBuf>) -> PathBuf {
    named.unwrap_or(&config.data_dir).clone()
}

/// Refuses to serve a folder to everybody in which something lies that the system keeps for itself.
pub(super) fn check_front_end(config: &Config, data_dir: &Path) -> Result<(), CliError> {
    let Some(folder) = &config.gateway.static_dir else { return Ok(()) };
    let mut private: Vec<gateway::PrivatePath<'_>> = vec![
        ("data_dir", data_dir),
        ("workflows", &config.workflows),
        ("audit.anchors", &config.audit.anchors),
        ("the configuration", &config.path),
    ];
    private.extend(config.secret_files());
    gateway::check_front_end(folder, &private).map_err(CliError::Usage)
}

/// What the logs are chained with: the configured key; else, beside an embedded store, a key in a file there.
pub(super) fn chain_key(config: &Config, data_dir: Option<&Path>) -> Result<Option<chain::ChainKey>, CliError> {
    // A key that is meant to be there and is not must not become another one, or none.
    config.usable(ConfigSection::Audit)?;
    if let Some(key) = &config.audit.key {
        return Ok(Some(chain::ChainKey::new(key).with_previous(&config.audit.previous_keys)));
    }
    let Some(folder) = data_dir else { return Ok(None) };
    let path = folder.join("audit.key");
    let key = kept_key(&path).with_context(|| format!("could not keep a key in {}", path.display()))?;
    Ok(Some(chain::ChainKey::new(&key).with_previous(&config.audit.previous_keys)))
}

/// Where the anchors are: beside an embedded store that was named on the command line, they are in it.
pub(super) fn anchors_dir(config: &Config, data_dir: Option<&Path>) -> PathBuf {
    let default = config.data_dir.join("audit");
    match data_dir {
        Some(folder) if config.audit.anchors == default => folder.join("audit"),
        _ => config.audit.anchors.clone(),
    }
}

/// What verifies the logs, if there is a key.
pub(super) fn verifier(config: &Config, data_dir: Option<&Path>) -> Result<Option<LogVerifier>, CliError> {
    let key = chain_key(config, data_dir)?;
    Ok(key.map(|key| LogVerifier::new(key, anchors_dir(config, data_dir))))
}

/// The broker with logs that are chained, if there is a key.
pub(super) fn chained(config: &Config, broker: Broker, data_dir: Option<&Path>) -> Result<Broker, CliError> {
    telemetry::redact(config.audit.redactor.clone());
    let Some(key) = chain_key(config, data_dir)? else { return Ok(broker) };
    let anchors = AnchorWriter::open(&anchors_dir(config, data_dir), &key).context("cannot prove the logs")?;
    Ok(chain::chained(broker, key, anchors, clock::system()))
}

/// What seals passwords: the configured key; else, beside an embedded store, a key in a file there.
pub(super) fn sealer(config: &Config, data_dir: Option<&Path>) -> Result<Option<Sealer>, CliError> {
    if let Some(key) = &config.seal_key {
        return Ok(Some(Sealer::new(key.clone()).with_previous(config.previous_seal_keys.clone())));
    }
    let Some(folder) = data_dir else { return Ok(None) };
    let path = seal_key_file(folder);
    let key = kept_key(&path).with_context(|| format!("could not keep a key in {}", path.display()))?;
    Ok(Some(Sealer::new(key).with_previous(config.previous_seal_keys.clone())))
}

/// Where tokens are kept that servers outside give: in the data folder of an embedded store, else in the broker.
pub(super) fn stored_tokens(broker: Option<&Broker>, sealer: Sealer, data_dir: &Path) -> SealedEntries {
    let backend: Arc<dyn TokenBackend> = match broker {
        Some(broker) => Arc::new(TokenBucket::new(broker.catalogue.clone())),
        None => Arc::new(TokenFolder::new(data_dir)),
    };
    SealedEntries::new(backend, sealer)
}

/// The stored tokens of a project, for a command beside its workers; none: there is no key to open them.
pub(super) async fn open_tokens(
    config: &Config,
    common: &CommonArguments,
    nats: bool,
    named: Option<&PathBuf>,
) -> Result<Option<SealedEntries>, CliError> {
    let data_dir = data_dir(config, named);
    let is_nats = nats || common.nats_url.is_some();
    let Some(sealer) = sealer(config, (!is_nats).then_some(&data_dir))? else { return Ok(None) };
    let broker = if is_nats { Some(connect(config, "login").await?) } else { None };
    Ok(Some(stored_tokens(broker.as_ref(), sealer, &data_dir)))
}

/// The key that a gateway signs with for its users; says which key workers must be told.
pub(super) fn gateway_signer(config: &Config) -> Option<StatementSigner> {
    let gateway_signer = StatementSigner::new(config.gateway.signing_key.as_ref()?);
    tracing::info!(
        "the gateway signs what it does for its users; workers know its key by worker.trusted_gateways: [{}]",
        gateway_signer.public()
    );
    Some(gateway_signer)
}

/// Where the key that was made for an embedded store lies.
pub(super) fn seal_key_file(folder: &Path) -> PathBuf {
    folder.join("seal.key")
}

/// Copies the keys that were made for an embedded store, the anchors and the sealed tokens beside it, into another folder. What is there
/// already is replaced, or refused.
pub(super) fn copy_keys(from: &Path, to: &Path, replace: bool) -> std::io::Result<()> {
    let mut files = vec![PathBuf::from("seal.key"), PathBuf::from("audit.key")];
    if let Ok(anchors) = std::fs::read_dir(from.join("audit")) {
        for file in anchors {
            files.push(Path::new("audit").join(file?.file_name()));
        }
        std::fs::create_dir_all(to.join("audit"))?;
    }
    for file in files {
        if from.join(&file).is_file() {
            if replace && to.join(&file).exists() {
                std::fs::remove_file(to.join(&file))?;
            }
            write_private(&to.join(&file), &std::fs::read_to_string(from.join(&file))?)?;
        }
    }
    tokens::copy(from, to, replace)
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Everything that a worker is made of, checked: workflows, models, and that they fit together.
pub(super) fn worker_parts(
    config: &Config,
    broker: Broker,
    sealer: Option<Sealer>,
    data_dir: Option<&Path>,
    mock: bool,
) -> Result<worker::WorkerParts, CliError> {
    let outside = outside(config, &broker, sealer.as_ref(), data_dir);
    let workflows = workflows(config, &broker, &outside, mock, &BTreeSet::new())?;
    // Runs go on with the tools that they have had, and a file may be mended while this serves: so it is said, and not refused.
    if let Err(problems) = crate::project::check_toolsets(&workflows, config) {
        eprintln!("{}\n", shown(&problems.to_string()));
        eprintln!("runs that need these tools fail until it is mended");
    }
    Ok(parts_of(config, broker, sealer, mock, workflows, outside))
}

/// What a worker needs for one conversation. A workflow whose file has a mistake is left out, with those that call it, and its
/// mistakes are printed, unless it is the one that is asked for.
pub(super) fn worker_parts_for(
    asked: Option<&str>,
    config: &Config,
    broker: Broker,
    sealer: Option<Sealer>,
    data_dir: Option<&Path>,
    mock: bool,
) -> Result<worker::WorkerParts, CliError> {
    let outside = outside(config, &broker, sealer.as_ref(), data_dir);
    let workflows = without_mistaken(asked, |excluded| workflows(config, &broker, &outside, mock, excluded))?;
    Ok(parts_of(config, broker, sealer, mock, workflows, outside))
}

/// The workflows of a project for what is done with one of them: those of files with a mistake are left out, which is printed, unless it is
/// the one that is asked for.
pub(super) fn workflows_for(asked: &str, config: &Config) -> Result<Vec<workflow::Workflow>, Problems> {
    without_mistaken(Some(asked), |excluded| workflow::load_folder_without(&config.workflows, excluded))
}

/// `read` gives the workflows but those of the excluded files.
fn without_mistaken(
    asked: Option<&str>,
    read: impl Fn(&BTreeSet<String>) -> Result<Vec<workflow::Workflow>, Problems>,
) -> Result<Vec<workflow::Workflow>, Problems> {
    let (mut excluded, mut told) = (BTreeSet::new(), Vec::new());
    let workflows = loop {
        let problems = match read(&excluded) {
            Ok(workflows) => break workflows,
            Err(problems) => problems,
        };
        let before = excluded.len();
        excluded.extend(problems.iter().map(|problem| problem.file.clone()));
        told.extend(problems);
        if excluded.len() == before {
            return Err(Problems::new(told).expect("there is one"));
        }
    };
    let is_there = |asked: &str| workflows.iter().any(|workflow| workflow.name.as_str() == asked);
    if let Some(problems) = Problems::new(told) {
        if workflows.is_empty() || asked.is_some_and(|asked| !is_there(asked)) {
            return Err(problems);
        }
        let files = excluded.into_iter().collect::<Vec<_>>().join(", ");
        eprintln!("{}\n", shown(&problems.to_string()));
        eprintln!("left out because of this: {files}");
    }
    Ok(workflows)
}

/// What the project's workflows reach outside. Without a key to seal them, tokens are stored nowhere.
fn outside(config: &Config, broker: &Broker, sealer: Option<&Sealer>, data_dir: Option<&Path>) -> OutsideServices {
    let Some(sealer) = sealer else { return OutsideServices::new(config) };
    let (broker, folder) = (data_dir.is_none().then_some(broker), data_dir.unwrap_or(&config.data_dir));
    let entries = stored_tokens(broker, sealer.clone(), folder);
    OutsideServices::with_tokens(config, Arc::new(SharedTokenStore::new(entries)))
}

/// Where the NATS server is, without the login that its address may have.
fn nats_address(config: &Config) -> String {
    config.nats().map_or_else(|_| NatsConfig::default().url, |nats| secrets::without_logins(&nats.url))
}

/// The workflows of the project, but those of the excluded files, checked with its configuration.
fn workflows(
    config: &Config,
    broker: &Broker,
    outside: &OutsideServices,
    mock: bool,
    excluded: &BTreeSet<String>,
) -> Result<Vec<workflow::Workflow>, Problems> {
    let workflows = workflow::load_folder_without(&config.workflows, excluded)?;
    let known: BTreeSet<_> = config.llms.keys().cloned().collect();
    let unpriced = if mock { BTreeSet::new() } else { config::unpriced(&config.llms) };
    for workflow in &workflows {
        workflow::check_models(workflow, &known, &unpriced)?;
        let refuses = |name: &str, receiver: &SecretReceiver| outside.secrets.refuses_receiver(name, receiver);
        workflow::check_secrets(workflow, refuses, |name, receiver| outside.secrets.repair(name, receiver))?;
        workflow::check_programs(
            workflow,
            |name| outside.programs.check(name).err(),
            |name| outside.programs.near(name),
            |name| outside.programs.takes_code(name),
        )?;
        workflow::check_services(workflow, broker.services.is_some(), &nats_address(config))?;
    }
    Ok(workflows)
}

fn parts_of(
    config: &Config,
    broker: Broker,
    sealer: Option<Sealer>,
    mock: bool,
    workflows: Vec<workflow::Workflow>,
    outside: OutsideServices,
) -> worker::WorkerParts {
    let models = model::open_all(&config.llms, mock);
    worker::WorkerParts {
        broker,
        clock: clock::system(),
        models,
        workflows,
        sealer,
        settings: config.worker.clone(),
        outside,
        keep_ended: config.keep_ended,
        keep_evidence: config.audit.keep_evidence,
        redactor: config.audit.redactor.clone(),
        webhooks: config.webhooks.clone(),
        up: Arc::default(),
    }
}

/// Refuses `auth.trusted_header` behind the `ui` where the header would count from everyone who reaches the `ui`, or from no one.
/// `ui` is the address that the `ui` calls the gateway from.
pub(super) fn safe_header(config: &Config, ui: IpAddr) -> Result<(), CliError> {
    let config::AuthMode::TrustedHeader(header) = &config.auth.mode else { return Ok(()) };
    let is_in = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&ui.to_canonical()));
    let what = if is_in(&header.from) {
        format!(
            "auth.trusted_header.from names {ui}, the address of the ui itself: everybody who reaches the ui could send {}",
            header.user
        )
    } else if !is_in(&config.auth.proxies) {
        format!(
            "auth.proxies does not name {ui}, the address of the ui: what the proxy before it says would never count"
        )
    } else {
        return Ok(());
    };
    Err(CliError::Usage(format!(
        "{what}. Name the proxy before the ui in `from`, and the ui in `proxies`:\n  auth:\n    mode: trusted_header\n    \
         proxies: [{ui}]\n    trusted_header: {{ user: {}, from: [ADDRESS OF THE PROXY] }}\n\
         docs/how-to/control-access.md shows it whole, also for a proxy on the same machine",
        header.user
    )))
}

/// The address that this machine calls a gateway from; none: it cannot be found out now.
pub(super) async fn calls_from(gateway_url: &str) -> Option<IpAddr> {
    let url = reqwest::Url::parse(gateway_url).ok()?;
    let target = (url.host_str()?.trim_matches(['[', ']']).to_owned(), url.port_or_known_default()?);
    let target = tokio::net::lookup_host(target).await.ok()?.next()?;
    let any: IpAddr = if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // Nothing is sent: the system only says which of its addresses it would send from.
    let socket = tokio::net::UdpSocket::bind((any, 0)).await.ok()?;
    socket.connect(target).await.ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

/// The settings of the page.
pub(super) fn page(config: &Config, gateway_url: String, data_dir: &Path) -> ui::Settings {
    let oidc = match &config.auth.mode {
        config::AuthMode::Oidc(oidc) => Some((**oidc).clone()),
        _ => None,
    };
    let login = ui::LoginSettings {
        key: session_key(config, data_dir),
        lifetime: config.ui.session_lifetime,
        public_url: config.ui.public_url.clone(),
        oidc,
        keeps_access_tokens: has_caller_tokens(config),
        previous_keys: config.ui.previous_session_keys.clone(),
        trusted_header: match &config.auth.mode {
            config::AuthMode::TrustedHeader(header) => Some(header.clone()),
            _ => None,
        },
    };
    let auth = config.auth.clone();
    let connections = serving::ConnectionLimits {
        most: config.ui.limits.connections,
        per_address: config.ui.limits.connections_per_address,
        unlimited: config.auth.proxies.clone(),
        ..serving::ConnectionLimits::default()
    };
    let config = &config.ui;
    let brand = ui::PageBrand {
        title: config.title.clone(),
        logo: config.logo.clone(),
        css: config.css.clone(),
        footer: config.footer.clone(),
        links: config.links.clone(),
        embed_in: config.embed_in.clone(),
    };
    ui::Settings { brand, gateway_url, version: VERSION.to_owned(), login, auth, connections }
}

/// What seals the cookies of logins: the configured key; else one in a file of this machine; else, where nothing can be
/// written, one for this life.
fn session_key(config: &Config, data_dir: &Path) -> SecretString {
    if let Some(key) = &config.ui.session_key {
        return key.clone();
    }
    if matches!(config.auth.mode, config::AuthMode::None | config::AuthMode::TrustedHeader(_)) {
        // Nobody logs in.
        return new_key().into();
    }
    let path = data_dir.join("session.key");
    kept_key(&path).unwrap_or_else(|error| {
        tracing::warn!("logins end with this process: {} cannot be kept ({error}); set ui.session_key", path.display());
        new_key().into()
    })
}

fn new_key() -> String {
    crate::ids::hex(&rand::random::<[u8; 32]>())
}

/// The key in a file, which is made if it is not there.
fn kept_key(path: &Path) -> std::io::Result<SecretString> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let key = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let key = new_key();
            match write_private(path, &key) {
                // Another tier that starts at the same moment was faster.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => std::fs::read_to_string(path)?,
                written => written.map(|()| key)?,
            }
        }
        read => read?,
    };
    if key.trim().is_empty() {
        // Everybody knows the empty key.
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "there is no key in it"));
    }
    Ok(key.trim().to_owned().into())
}

/// Listens where the configuration says, or the command line. `flag`: what takes another port there, if anything does.
pub(super) async fn listen(
    listen: &ListenArguments,
    host: IpAddr,
    port: u16,
    flag: Option<&str>,
) -> Result<TcpListener, CliError> {
    let address = SocketAddr::new(listen.host.unwrap_or(host), listen.port.unwrap_or(port));
    let open = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // A tier that is started again must not wait until the connections of its former life are forgotten.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    let listener: std::io::Result<TcpListener> = open();
    let advice = flag.map(|flag| format!("; is another one running? {flag} takes another port")).unwrap_or_default();
    Ok(listener.with_context(|| format!("could not listen on {address}{advice}"))?)
}

/// The address that a person can open for a listener.
pub(super) fn url(listener: &TcpListener) -> String {
    listener.local_addr().map_or_else(|_| "http://?".to_owned(), url_of)
}

/// The same, as it is announced: where else it listens is said, too.
pub(super) fn place(listener: &TcpListener) -> String {
    let url = url(listener);
    match listener.local_addr() {
        Ok(address) if address.ip().is_unspecified() => {
            format!("{url} (and every other address of this machine, at port {})", address.port())
        }
        _ => url,
    }
}

fn url_of(address: SocketAddr) -> String {
    match address.ip().is_unspecified() {
        true => format!("http://127.0.0.1:{}", address.port()),
        false => format!("http://{address}"),
    }
}

/// A life with the configured grace period.
pub(super) fn lifecycle(config: &Config) -> Lifecycle {
    Lifecycle::new(grace(config))
}

fn grace(config: &Config) -> Duration {
    config.shutdown_grace
}
