//! Connections to Redis: TCP, TLS, unix sockets, and asking Sentinel who the master is.
//!
//! The streams are ours and handed to the client library: TLS then uses the provider of cryptography that the rest of the
//! crate uses, and every task has an owner.

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};

use redis::aio::{AsyncPushSender, MultiplexedConnection, PubSub};
use redis::{AsyncConnectionConfig, ErrorKind, ProtocolVersion, RedisError, Value, cmd};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::config::{Endpoint, Login, RedisConfig, RedisConfigError, Servers, TlsChoice, endpoint};

/// A task that ends with its owner.
#[derive(Debug)]
pub(super) struct Task(JoinHandle<()>);

impl Task {
    pub(super) fn spawn(future: impl Future<Output = ()> + Send + 'static) -> Task {
        Task(tokio::spawn(future))
    }

    /// Channels may be subscribed from threads that have no runtime.
    pub(super) fn spawn_on(runtime: &Handle, future: impl Future<Output = ()> + Send + 'static) -> Task {
        Task(runtime.spawn(future))
    }

    /// Waits for its end.
    pub(super) async fn ended(&mut self) {
        // A panic is an end like others; awaited again, a finished handle would panic.
        if !self.0.is_finished() {
            let _ = (&mut self.0).await;
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What a stream to Redis is, whatever it runs over.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection for commands, and the task that reads and writes it.
pub(super) struct Commands {
    pub(super) connection: MultiplexedConnection,
    pub(super) driver: Task,
}

/// Which server to connect to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Target {
    /// The one server, or the master that Sentinel names now.
    Configured,
    /// A node of a cluster.
    Node(Endpoint),
}

impl Target {
    /// Where it is, for people.
    pub(super) fn place(&self, config: &RedisConfig) -> String {
        match self {
            Target::Configured => config.servers.to_string(),
            Target::Node(node) => node.to_string(),
        }
    }
}

/// Connects for commands. Answers have no timeout here: whoever asks knows how long to wait.
pub(super) async fn commands(config: &RedisConfig, target: &Target) -> Result<Commands, ConnectError> {
    let connecting = async {
        let endpoint = resolve(config, target).await?;
        open(config, &endpoint, &config.login, ProtocolVersion::RESP2, AsyncConnectionConfig::new()).await
    };
    timeout(config.connect_timeout, connecting).await.map_err(|_| ConnectError::TimedOut)?
}

/// Connects for subscriptions over RESP3: `push` hears what Redis sends on its own; `wrap` may stand between.
pub(super) async fn pushes<S: Io + 'static>(
    config: &RedisConfig,
    target: &Target,
    push: impl AsyncPushSender,
    wrap: impl FnOnce(Box<dyn Io>) -> S,
) -> Result<Commands, ConnectError> {
    let connecting = async {
        let endpoint = resolve(config, target).await?;
        let options = AsyncConnectionConfig::new().set_push_sender(push);
        let stream = wrap(stream(config, &endpoint).await?);
        over(stream, &config.login, ProtocolVersion::RESP3, options).await
    };
    timeout(config.connect_timeout, connecting).await.map_err(|_| ConnectError::TimedOut)?
}

/// Connects for subscriptions over RESP2; `wrap` may stand between.
pub(super) async fn pubsub<S: Io + 'static>(
    config: &RedisConfig,
    target: &Target,
    wrap: impl FnOnce(Box<dyn Io>) -> S,
) -> Result<PubSub, ConnectError> {
    let connecting = async {
        let endpoint = resolve(config, target).await?;
        let stream = wrap(stream(config, &endpoint).await?);
        Ok(PubSub::new(&config.login.info(ProtocolVersion::RESP2), stream).await?)
    };
    timeout(config.connect_timeout, connecting).await.map_err(|_| ConnectError::TimedOut)?
}

async fn open(
    config: &RedisConfig,
    endpoint: &Endpoint,
    login: &Login,
    protocol: ProtocolVersion,
    options: AsyncConnectionConfig,
) -> Result<Commands, ConnectError> {
    over(stream(config, endpoint).await?, login, protocol, options).await
}

async fn over(
    stream: impl Io + 'static,
    login: &Login,
    protocol: ProtocolVersion,
    options: AsyncConnectionConfig,
) -> Result<Commands, ConnectError> {
    let options = options.set_response_timeout(None).set_connection_timeout(None);
    let (connection, driver) =
        MultiplexedConnection::new_with_config(&login.info(protocol), stream, options).await?;
    Ok(Commands { connection, driver: Task::spawn(driver) })
}

async fn stream(config: &RedisConfig, endpoint: &Endpoint) -> Result<Box<dyn Io>, ConnectError> {
    let (host, port) = match endpoint {
        Endpoint::Tcp { host, port } => (host, *port),
        #[cfg(unix)]
        Endpoint::Unix(path) => return Ok(Box::new(tokio::net::UnixStream::connect(path).await?)),
        #[cfg(not(unix))]
        Endpoint::Unix(_) => return Err(io::Error::from(io::ErrorKind::Unsupported).into()),
    };
    let stream = TcpStream::connect((host.as_str(), port)).await?;
    stream.set_nodelay(true)?;
    let tls = match &config.tls {
        None => return Ok(Box::new(stream)),
        Some(TlsChoice::Given(tls)) => Arc::clone(tls),
        Some(TlsChoice::SystemRoots) => {
            let roots = tokio::task::spawn_blocking(system_roots);
            roots.await.map_err(io::Error::other)?.map_err(io::Error::other)?
        }
    };
    let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
    Ok(Box::new(TlsConnector::from(tls).connect(name, stream).await?))
}

async fn resolve(config: &RedisConfig, target: &Target) -> Result<Endpoint, ConnectError> {
    if let Target::Node(endpoint) = target {
        return Ok(endpoint.clone());
    }
    match &config.servers {
        Servers::One(endpoint) => Ok(endpoint.clone()),
        Servers::Sentinel { master, sentinels } => master_of(config, master, sentinels).await,
        Servers::Cluster(_) => unreachable!("in a cluster a node is named"),
    }
}

/// Asks one Sentinel after the other, and then the server itself, which knows better whether it is the master.
async fn master_of(
    config: &RedisConfig,
    master: &str,
    sentinels: &[Endpoint],
) -> Result<Endpoint, ConnectError> {
    let mut last = None;
    for sentinel in sentinels {
        // A Sentinel that does not answer must not use up the time of the others.
        let share = config.connect_timeout / (u32::try_from(sentinels.len()).unwrap_or(u32::MAX) + 1);
        let found = match timeout(share, ask_sentinel(config, master, sentinel)).await {
            Ok(found) => found,
            Err(_) => Err(ConnectError::TimedOut),
        };
        match found {
            Ok(endpoint) => return Ok(endpoint),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| ConnectError::UnknownMaster { name: master.to_owned() }))
}

async fn ask_sentinel(
    config: &RedisConfig,
    master: &str,
    sentinel: &Endpoint,
) -> Result<Endpoint, ConnectError> {
    let unknown = || ConnectError::UnknownMaster { name: master.to_owned() };
    let options = AsyncConnectionConfig::new;
    let mut asked = open(config, sentinel, &config.sentinel_login, ProtocolVersion::RESP2, options()).await?;
    let mut question = cmd("SENTINEL");
    question.arg("GET-MASTER-ADDR-BY-NAME").arg(master);
    let address: Option<(String, u16)> = question.query_async(&mut asked.connection).await?;
    let (host, port) = address.ok_or_else(unknown)?;
    let found = Endpoint::Tcp { host, port };
    let mut server = open(config, &found, &config.login, ProtocolVersion::RESP2, options()).await?;
    let role: Value = cmd("ROLE").query_async(&mut server.connection).await?;
    match role {
        Value::Array(parts) if matches!(parts.first(), Some(Value::BulkString(role)) if role == b"master") => {
            Ok(found)
        }
        _ => Err(ConnectError::NotMaster { address: found.to_string() }),
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum ConnectError {
    Io(io::Error),
    NotMaster { address: String },
    Redis(RedisError),
    TimedOut,
    UnknownMaster { name: String },
}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> ConnectError {
        ConnectError::Io(error)
    }
}

impl From<RedisError> for ConnectError {
    fn from(error: RedisError) -> ConnectError {
        ConnectError::Redis(error)
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::Io(error) => error.fmt(f),
            ConnectError::NotMaster { address } => {
                write!(f, "{address}, which Sentinel names as the master, says that it is none")
            }
            ConnectError::Redis(error) if error.kind() == ErrorKind::RESP3NotSupported => f.write_str(
                "the server does not speak RESP3, which sharded subscriptions and Redis Cluster need (Redis 7 or newer)",
            ),
            ConnectError::Redis(error) => error.fmt(f),
            ConnectError::TimedOut => f.write_str("no connection within connect_timeout"),
            ConnectError::UnknownMaster { name } => write!(f, "Sentinel knows no master {name:?}"),
        }
    }
}

pub(super) fn tls_config(
    roots: &[u8],
    identity: Option<(&[u8], &[u8])>,
) -> Result<ClientConfig, RedisConfigError> {
    let invalid = |error: &dyn fmt::Display| RedisConfigError::InvalidTls { reason: error.to_string() };
    let certificates = |pem: &[u8]| CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let mut trusted = RootCertStore::empty();
    for root in certificates(roots).map_err(|error| invalid(&error))? {
        trusted.add(root).map_err(|error| invalid(&error))?;
    }
    if trusted.is_empty() {
        return Err(invalid(&"the roots have no certificate (a block that begins with BEGIN CERTIFICATE)"));
    }
    let builder = client_config(trusted);
    let Some((chain, key)) = identity else { return Ok(builder.with_no_client_auth()) };
    let chain = certificates(chain).map_err(|error| invalid(&error))?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| invalid(&error))?;
    builder.with_client_auth_cert(chain, key).map_err(|error| invalid(&error))
}

type ConfigBuilder =
    tokio_rustls::rustls::ConfigBuilder<ClientConfig, tokio_rustls::rustls::client::WantsClientCert>;

fn client_config(roots: RootCertStore) -> ConfigBuilder {
    // The provider is passed on, so that what else uses rustls in the process can choose its own.
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has what both versions need")
        .with_root_certificates(roots)
}

/// Whom the operating system trusts, read once.
fn system_roots() -> Result<Arc<ClientConfig>, String> {
    static READ: OnceLock<Result<Arc<ClientConfig>, String>> = OnceLock::new();
    let read = || {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let errors: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
            return Err(format!("the operating system trusts no certificates: {}", errors.join(", ")));
        }
        Ok(Arc::new(client_config(roots).with_no_client_auth()))
    };
    READ.get_or_init(read).clone()
}

/// The address in an answer of a cluster (`host:port`, IPv6 without brackets); an empty host is that of who said it.
pub(super) fn redirected(address: &str, from: &Endpoint) -> Option<Endpoint> {
    let (host, port) = address.rsplit_once(':')?;
    let host = match (host, from) {
        ("" | "?", Endpoint::Tcp { host, .. }) => host.clone(),
        _ => host.trim_matches(['[', ']']).to_owned(),
    };
    endpoint(&Endpoint::Tcp { host, port: port.parse().ok()? }.to_string(), 6379).ok()
}
