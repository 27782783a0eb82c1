//! RedisConfig: where Redis is, who we are there, and every limit of the connections to it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use redis::{ProtocolVersion, RedisConnectionInfo};
use tokio_rustls::rustls::ClientConfig;

use super::connect;

/// Where Redis is, and how the connections to it behave.
///
/// # Rights
/// A user of an access control list needs `+@connection +@pubsub` and these channels, keys and commands (with the default
/// names; the ping channel is the watchdog's):
///
/// | adapter | |
/// |---|---|
/// | sharded | `&socket.io#*`, `&socket.io-ferrio-ping#*` |
/// | classic | the same, `&socket.io-request#*`, `&socket.io-response#*`, and for each namespace its pattern as it is, because Redis compares patterns literally: `&socket.io#/#*`, `&socket.io#/chat#*` |
/// | streams | as sharded, and `~socket.io*`, `~sio:session:*`, `+xadd +xread +xrange +xrevrange +set +get +del +multi +exec` |
///
/// On a Redis Cluster also `+cluster|slots +asking`.
///
/// # Example: a password, another database, a larger queue
/// ```
/// # fn run() -> Result<(), ferrio::RedisConfigError> {
/// let config = ferrio::RedisConfig::from_url("redis://:secret@redis.internal:6379/2")?
///     .queue_bytes(128 * 1024 * 1024);
/// # Ok(())
/// # }
/// # run().unwrap();
/// ```
#[derive(Clone)]
pub struct RedisConfig {
    pub(super) servers: Servers,
    pub(super) login: Login,
    pub(super) sentinel_login: Login,
    /// Whether classic subscriptions too use RESP3; sharded ones always do.
    pub(super) resp3: bool,
    /// Set for `rediss`; nothing until something asks for it, because finding the system's roots reads files.
    pub(super) tls: Option<TlsChoice>,
    pub(super) connect_timeout: Duration,
    pub(super) response_timeout: Duration,
    pub(super) queue_messages: usize,
    pub(super) queue_bytes: usize,
    pub(super) max_publish_bytes: usize,
    pub(super) backoff_min: Duration,
    pub(super) backoff_max: Duration,
    pub(super) ping_interval: Duration,
    pub(super) ping_timeout: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Servers {
    Cluster(Vec<Endpoint>),
    One(Endpoint),
    Sentinel { master: String, sentinels: Vec<Endpoint> },
}

/// One address of a Redis server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Endpoint {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Endpoint::Tcp { host, port } => write!(f, "{host}:{port}"),
            Endpoint::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Where Redis is, without credentials.
impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |all: &[Endpoint]| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        match self {
            Servers::One(endpoint) => write!(f, "{endpoint}"),
            Servers::Sentinel { master, sentinels } => write!(f, "{master} of Sentinel {}", list(sentinels)),
            Servers::Cluster(seeds) => write!(f, "cluster {}", list(seeds)),
        }
    }
}

#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) database: i64,
}

impl Login {
    pub(super) fn info(&self, protocol: ProtocolVersion) -> RedisConnectionInfo {
        let mut info = RedisConnectionInfo::default()
            .set_protocol(protocol)
            .set_db(self.database)
            .set_lib_name("ferrio", env!("CARGO_PKG_VERSION"));
        if let Some(user) = &self.user {
            info = info.set_username(user);
        }
        if let Some(password) = &self.password {
            info = info.set_password(password);
        }
        info
    }
}

#[derive(Clone)]
pub(super) enum TlsChoice {
    Given(Arc<ClientConfig>),
    SystemRoots,
}

impl RedisConfig {
    /// Reads where Redis is from a URL:
    ///
    /// | URL | what it means |
    /// |---|---|
    /// | `redis://user:password@host:6379/0` | one server; user, password, port and database may be left out |
    /// | `rediss://host` | the same over TLS |
    /// | `redis+unix:///run/redis.sock?db=1&user=name&pass=word` | one server on a unix socket |
    /// | `redis://host:7000,host:7001` | a Redis Cluster, of which these are some nodes |
    /// | `redis+cluster://host:7000` | a Redis Cluster of which one node is named; `rediss+cluster` over TLS |
    /// | `redis+sentinel://host:26379,host:26380/mymaster/0` | the master `mymaster` that these Sentinels know; user and password are those of Redis, `?sentinel_user=…&sentinel_pass=…` those of Sentinel; `rediss+sentinel` speaks TLS to both |
    ///
    /// `valkey` may stand for `redis`. `?protocol=resp3` has classic subscriptions use RESP3 too (Redis 6 or newer).
    /// Special characters in user and password are written as `%` and two hexadecimal digits.
    ///
    /// # Errors
    /// What of the URL is wrong, and what is accepted.
    pub fn from_url(url: &str) -> Result<RedisConfig, RedisConfigError> {
        let parsed = parse(url)?;
        Ok(RedisConfig {
            servers: parsed.servers,
            login: parsed.login,
            sentinel_login: parsed.sentinel_login,
            resp3: parsed.resp3,
            tls: parsed.tls.then_some(TlsChoice::SystemRoots),
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(5),
            queue_messages: 16 * 1024,
            queue_bytes: 64 * 1024 * 1024,
            max_publish_bytes: 4 * 1024 * 1024,
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(5),
            ping_interval: Duration::from_secs(10),
            ping_timeout: Duration::from_secs(5),
        })
    }

    /// Sets whom `rediss://` trusts: certificates as PEM, instead of those of the operating system. For a Redis whose
    /// certificate is signed by an authority of one's own.
    ///
    /// # Errors
    /// If the text has no certificate, or one that cannot be read; or if the URL is not `rediss`.
    pub fn tls_roots(self, roots: &[u8]) -> Result<RedisConfig, RedisConfigError> {
        self.tls(roots, None)
    }

    /// Sets whom `rediss://` trusts, and the certificate chain and key (PEM, not encrypted) that prove to Redis who we are.
    /// For a Redis with `tls-auth-clients yes`.
    ///
    /// # Errors
    /// As [`RedisConfig::tls_roots`], and if chain or key cannot be read.
    pub fn tls_identity(
        self,
        roots: &[u8],
        chain: &[u8],
        key: &[u8],
    ) -> Result<RedisConfig, RedisConfigError> {
        self.tls(roots, Some((chain, key)))
    }

    fn tls(
        mut self,
        roots: &[u8],
        identity: Option<(&[u8], &[u8])>,
    ) -> Result<RedisConfig, RedisConfigError> {
        if self.tls.is_none() {
            return Err(RedisConfigError::TlsWithoutRediss);
        }
        let config = connect::tls_config(roots, identity)?;
        self.tls = Some(TlsChoice::Given(Arc::new(config)));
        Ok(self)
    }

    /// Sets how long connecting may take, handshake and login included. Default: 5 s; longer for a Redis far away.
    pub fn connect_timeout(mut self, timeout: Duration) -> RedisConfig {
        self.connect_timeout = timeout;
        self
    }

    /// Sets how long Redis may take to answer before the connection counts as lost and is made anew, and before a
    /// request fails. Default: 5 s, as Node's adapters wait for answers; longer if Redis runs slow scripts.
    pub fn response_timeout(mut self, timeout: Duration) -> RedisConfig {
        self.response_timeout = timeout;
        self
    }

    /// Sets how many commands may wait for Redis or for its answer. Default: 16 384. While it is full, new ones are
    /// refused and counted; what was accepted stays, in its order. More bridges longer outages, and sends older news after.
    pub fn queue_messages(mut self, messages: usize) -> RedisConfig {
        self.queue_messages = messages;
        self
    }

    /// Sets how many bytes of commands may wait for Redis or for its answer. Default: 64 MiB. As
    /// [`RedisConfig::queue_messages`]; whichever is reached first holds.
    pub fn queue_bytes(mut self, bytes: usize) -> RedisConfig {
        self.queue_bytes = bytes;
        self
    }

    /// Sets how large, in bytes, a published message may be; larger ones are refused and counted. Default: 4 MiB.
    ///
    /// Redis disconnects subscribers for which more than 32 MiB wait, or more than 8 MiB for a minute
    /// (`client-output-buffer-limit pubsub`). Half the lesser limit leaves room for two such messages at once. Raise it
    /// together with Redis's own limits.
    pub fn max_publish_bytes(mut self, bytes: usize) -> RedisConfig {
        self.max_publish_bytes = bytes;
        self
    }

    /// Sets the delay before the first attempt to connect again, and the largest: it doubles from attempt to attempt, each
    /// is shortened at random by up to a half, and a connection that works begins anew. Default: 50 ms and 5 s.
    pub fn backoff(mut self, min: Duration, max: Duration) -> RedisConfig {
        // Without any delay a Redis that refuses us would be asked in a tight loop.
        self.backoff_min = min.max(Duration::from_millis(1));
        self.backoff_max = max.max(self.backoff_min);
        self
    }

    /// Sets how often each subscribing connection is tested by a message of its own through Redis, and how long that may
    /// take before the connection is made anew. Default: 10 s and 5 s. Shorter finds a deaf connection earlier.
    pub fn watchdog(mut self, interval: Duration, timeout: Duration) -> RedisConfig {
        self.ping_interval = interval.max(Duration::from_millis(1));
        self.ping_timeout = timeout;
        self
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.servers, Servers::Cluster(_))
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The password stays out of logs.
        f.debug_struct("RedisConfig").field("servers", &self.servers).finish_non_exhaustive()
    }
}

/// What is wrong with a [`RedisConfig`]. No message repeats a password.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RedisConfigError {
    /// A Redis Cluster has only database 0.
    ClusterDatabase {
        /// The one that was asked for.
        database: i64,
    },
    /// The database is not a number from 0 on.
    InvalidDatabase {
        /// What stands there.
        text: String,
    },
    /// A `%` is not followed by two hexadecimal digits, or what they give is not UTF-8.
    InvalidEscape {
        /// Where: `user` or `password`.
        part: &'static str,
    },
    /// A host is empty, or several hosts do not agree in scheme, user and password.
    InvalidHost {
        /// What stands there, without user and password.
        text: String,
    },
    /// A port is not a number from 1 to 65535.
    InvalidPort {
        /// What stands there.
        text: String,
    },
    /// The value of a parameter is not one of those it takes.
    InvalidParameter {
        /// The parameter.
        name: String,
    },
    /// A certificate or a key cannot be used.
    InvalidTls {
        /// What is wrong with it.
        reason: String,
    },
    /// A URL for Sentinel does not name the master.
    NoMasterName,
    /// There is no `://`.
    NotAUrl,
    /// Certificates are given, and the URL does not speak TLS.
    TlsWithoutRediss,
    /// Nothing is known of this parameter.
    UnknownParameter {
        /// The parameter.
        name: String,
    },
    /// Nothing is known of this scheme.
    UnknownScheme {
        /// The scheme.
        scheme: String,
    },
}

impl fmt::Display for RedisConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RedisConfigError::ClusterDatabase { database } => {
                write!(f, "a Redis Cluster has no database {database}, only 0 (several hosts mean a cluster)")
            }
            RedisConfigError::InvalidDatabase { text } => write!(
                f,
                "the database of the Redis URL is {text:?}, not a number from 0 on (redis://host:6379/0)"
            ),
            RedisConfigError::InvalidEscape { part } => write!(
                f,
                "the {part} in the Redis URL is not percent-encoded UTF-8 (write % as %25, @ as %40, / as %2F, comma as %2C)"
            ),
            RedisConfigError::InvalidHost { text } => write!(
                f,
                "{text:?} is no host of a Redis URL (host, host:port or [IPv6]:port; several are separated by commas and \
                 share scheme, user and password)"
            ),
            RedisConfigError::InvalidPort { text } => {
                write!(f, "the port in the Redis URL is {text:?}, not a number from 1 to 65535")
            }
            RedisConfigError::InvalidParameter { name } => write!(
                f,
                "the parameter {name} of the Redis URL has a wrong value (protocol is resp2 or resp3, db a number from 0 on)"
            ),
            RedisConfigError::InvalidTls { reason } => {
                write!(f, "a certificate for Redis cannot be used: {reason}")
            }
            RedisConfigError::NoMasterName => f.write_str(
                "the Redis URL does not name Sentinel's master (redis+sentinel://host:26379/mymaster)",
            ),
            RedisConfigError::NotAUrl => {
                f.write_str("this is not a Redis URL (redis://user:password@host:6379/0)")
            }
            RedisConfigError::TlsWithoutRediss => {
                f.write_str("certificates are given for a Redis URL without TLS (rediss://host:6379)")
            }
            RedisConfigError::UnknownParameter { name } => write!(
                f,
                "the Redis URL has an unknown parameter {name:?} (protocol; db, user and pass for unix sockets; \
                 sentinel_user and sentinel_pass for Sentinel)"
            ),
            RedisConfigError::UnknownScheme { scheme } => write!(
                f,
                "{scheme:?} is no scheme of a Redis URL (redis, rediss, redis+unix, redis+cluster, rediss+cluster, \
                 redis+sentinel, rediss+sentinel)"
            ),
        }
    }
}

impl std::error::Error for RedisConfigError {}

struct Parsed {
    servers: Servers,
    login: Login,
    sentinel_login: Login,
    resp3: bool,
    tls: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Form {
    Cluster,
    Hosts,
    Sentinel,
    Unix,
}

fn parse(url: &str) -> Result<Parsed, RedisConfigError> {
    let (scheme, rest) = url.split_once("://").ok_or(RedisConfigError::NotAUrl)?;
    let (tls, form) = match scheme.to_ascii_lowercase().replace("valkey", "redis").as_str() {
        "redis" => (false, Form::Hosts),
        "rediss" => (true, Form::Hosts),
        "redis+cluster" => (false, Form::Cluster),
        "rediss+cluster" => (true, Form::Cluster),
        "redis+sentinel" => (false, Form::Sentinel),
        "rediss+sentinel" => (true, Form::Sentinel),
        "redis+unix" | "unix" => (false, Form::Unix),
        _ => return Err(RedisConfigError::UnknownScheme { scheme: scheme.to_owned() }),
    };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut parsed = Parsed {
        servers: Servers::Cluster(Vec::new()),
        login: Login::default(),
        sentinel_login: Login::default(),
        resp3: false,
        tls,
    };
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let value = value.into_owned();
        match (&*name, form) {
            ("protocol", _) => match value.as_str() {
                "2" | "resp2" => parsed.resp3 = false,
                "3" | "resp3" => parsed.resp3 = true,
                _ => return Err(RedisConfigError::InvalidParameter { name: name.into_owned() }),
            },
            ("db", Form::Unix) => parsed.login.database = database(&value)?,
            ("user", Form::Unix) => parsed.login.user = Some(value),
            ("pass", Form::Unix) => parsed.login.password = Some(value),
            ("sentinel_user", Form::Sentinel) => parsed.sentinel_login.user = Some(value),
            ("sentinel_pass", Form::Sentinel) => parsed.sentinel_login.password = Some(value),
            _ => return Err(RedisConfigError::UnknownParameter { name: name.into_owned() }),
        }
    }
    if form == Form::Unix {
        let path = percent_decode_str(rest).decode_utf8_lossy().into_owned();
        if !path.starts_with('/') {
            return Err(RedisConfigError::InvalidHost { text: path });
        }
        parsed.servers = Servers::One(Endpoint::Unix(PathBuf::from(path)));
        return Ok(parsed);
    }

    let default_port = if form == Form::Sentinel { 26379 } else { 6379 };
    let (endpoints, user_info, path) = hosts(scheme, rest, default_port)?;
    if let Some(user_info) = user_info {
        let (user, password) = user_info.split_once(':').map_or((user_info, None), |(u, p)| (u, Some(p)));
        parsed.login.user = decoded("user", user)?.filter(|user| !user.is_empty());
        parsed.login.password = password.map(|text| decoded("password", text)).transpose()?.flatten();
    }
    let mut path = path.split('/').filter(|part| !part.is_empty());
    let master = if form == Form::Sentinel { path.next() } else { None };
    if let Some(text) = path.next() {
        parsed.login.database = database(text)?;
    }
    if let Some(text) = path.next() {
        return Err(RedisConfigError::InvalidDatabase { text: text.to_owned() });
    }
    parsed.servers = match form {
        Form::Sentinel => Servers::Sentinel {
            master: master.ok_or(RedisConfigError::NoMasterName)?.to_owned(),
            sentinels: endpoints,
        },
        Form::Hosts if endpoints.len() == 1 => {
            Servers::One(endpoints.into_iter().next().expect("there is one: just counted"))
        }
        _ => Servers::Cluster(endpoints),
    };
    match parsed.login.database {
        database if database != 0 && matches!(parsed.servers, Servers::Cluster(_)) => {
            Err(RedisConfigError::ClusterDatabase { database })
        }
        _ => Ok(parsed),
    }
}

/// The hosts, user and password as they stand there, and the path after the last host.
fn hosts<'a>(
    scheme: &str,
    rest: &'a str,
    default_port: u16,
) -> Result<(Vec<Endpoint>, Option<&'a str>, &'a str), RedisConfigError> {
    let (mut endpoints, mut shared, mut path) = (Vec::new(), None, "");
    for (index, item) in rest.split(',').enumerate() {
        let item = item.trim().strip_prefix(&format!("{scheme}://")).unwrap_or(item.trim());
        let (user_info, item) =
            item.rsplit_once('@').map_or((None, item), |(user_info, item)| (Some(user_info), item));
        let (host, here) = item.split_once('/').map_or((item, ""), |(host, path)| (host, path));
        let invalid = || RedisConfigError::InvalidHost { text: host.to_owned() };
        match (index, user_info) {
            (0, _) => shared = user_info,
            (_, None) => {}
            (_, other) if other == shared => {}
            _ => return Err(invalid()),
        }
        if !here.is_empty() {
            path = here;
        }
        endpoints.push(endpoint(host, default_port)?);
    }
    Ok((endpoints, shared, path))
}

pub(super) fn endpoint(text: &str, default_port: u16) -> Result<Endpoint, RedisConfigError> {
    let invalid = || RedisConfigError::InvalidHost { text: text.to_owned() };
    let (host, port) = match text.strip_prefix('[') {
        Some(v6) => {
            let (host, after) = v6.split_once(']').ok_or_else(invalid)?;
            (host, after.strip_prefix(':').or(if after.is_empty() { None } else { Some(after) }))
        }
        None => text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let port = match port {
        Some(port) => port
            .parse()
            .ok()
            .filter(|&port| port != 0)
            .ok_or_else(|| RedisConfigError::InvalidPort { text: port.to_owned() })?,
        None => default_port,
    };
    if host.is_empty() || (host.contains(':') && !text.starts_with('[')) || host.contains(['/', ' ', '@']) {
        return Err(invalid());
    }
    Ok(Endpoint::Tcp { host: host.to_owned(), port })
}

fn database(text: &str) -> Result<i64, RedisConfigError> {
    let number = text.parse().ok().filter(|&number: &i64| number >= 0);
    number.ok_or_else(|| RedisConfigError::InvalidDatabase { text: text.to_owned() })
}

fn decoded(part: &'static str, text: &str) -> Result<Option<String>, RedisConfigError> {
    let bytes = text.as_bytes();
    let broken = (0..bytes.len()).any(|at| {
        bytes[at] == b'%'
            && !bytes.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
    });
    if broken {
        return Err(RedisConfigError::InvalidEscape { part });
    }
    let text =
        percent_decode_str(text).decode_utf8().map_err(|_| RedisConfigError::InvalidEscape { part })?;
    Ok(Some(text.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Endpoint {
        Endpoint::Tcp { host: host.to_owned(), port }
    }

    fn login(user: Option<&str>, password: Option<&str>, database: i64) -> Login {
        Login { user: user.map(str::to_owned), password: password.map(str::to_owned), database }
    }

    #[track_caller]
    fn check(url: &str, servers: &Servers, expected: &Login) -> RedisConfig {
        let config = RedisConfig::from_url(url).unwrap();
        assert_eq!(config.servers, *servers, "{url}");
        assert!(config.login == *expected, "{url}");
        config
    }

    #[test]
    fn urls_say_where_redis_is() {
        check("redis://localhost", &Servers::One(tcp("localhost", 6379)), &Login::default());
        check("redis://[::1]:7000/3", &Servers::One(tcp("::1", 7000)), &login(None, None, 3));
        check("redis://:p%40ss@h/", &Servers::One(tcp("h", 6379)), &login(None, Some("p@ss"), 0));
        let both = login(Some("me"), Some("word"), 0);
        assert!(check("rediss://me:word@h:1", &Servers::One(tcp("h", 1)), &both).tls.is_some());
        let nodes = Servers::Cluster(vec![tcp("a", 1), tcp("b", 2), tcp("c", 6379)]);
        check("redis://me:word@a:1,b:2,redis://me:word@c", &nodes, &both);
        check("redis+cluster://a:1", &Servers::Cluster(vec![tcp("a", 1)]), &Login::default());
        let sentinel =
            Servers::Sentinel { master: "main".to_owned(), sentinels: vec![tcp("a", 26379), tcp("b", 2)] };
        let config =
            check("redis+sentinel://:x@a,b:2/main/4?sentinel_pass=y", &sentinel, &login(None, Some("x"), 4));
        assert_eq!(config.sentinel_login.password.as_deref(), Some("y"));
        let path = Servers::One(Endpoint::Unix("/run/redis.sock".into()));
        check("redis+unix:///run/redis.sock?db=1&user=u&pass=p", &path, &login(Some("u"), Some("p"), 1));
        assert!(RedisConfig::from_url("valkey://h?protocol=resp3").unwrap().resp3);
    }

    #[test]
    fn wrong_urls_are_told_what_is_wrong() {
        let of = |url: &str| RedisConfig::from_url(url).unwrap_err();
        let text = |text: &str| text.to_owned();
        assert_eq!(of("localhost:6379"), RedisConfigError::NotAUrl);
        assert_eq!(of("http://h"), RedisConfigError::UnknownScheme { scheme: text("http") });
        assert_eq!(of("redis://"), RedisConfigError::InvalidHost { text: text("") });
        assert_eq!(of("redis://a:1,,b"), RedisConfigError::InvalidHost { text: text("") });
        assert_eq!(of("redis://x:y@a,z@b"), RedisConfigError::InvalidHost { text: text("b") });
        assert_eq!(of("redis://h:0"), RedisConfigError::InvalidPort { text: text("0") });
        assert_eq!(of("redis://h:port"), RedisConfigError::InvalidPort { text: text("port") });
        assert_eq!(of("redis://h/one"), RedisConfigError::InvalidDatabase { text: text("one") });
        assert_eq!(of("redis://h/1/2"), RedisConfigError::InvalidDatabase { text: text("2") });
        assert_eq!(of("redis://a,b/1"), RedisConfigError::ClusterDatabase { database: 1 });
        assert_eq!(of("redis://:100%@h"), RedisConfigError::InvalidEscape { part: "password" });
        assert_eq!(of("redis://h?x=1"), RedisConfigError::UnknownParameter { name: text("x") });
        assert_eq!(of("redis://h?protocol=4"), RedisConfigError::InvalidParameter { name: text("protocol") });
        assert_eq!(of("redis+sentinel://h"), RedisConfigError::NoMasterName);
        assert_eq!(of("redis+unix://run"), RedisConfigError::InvalidHost { text: text("run") });
        let no_tls = RedisConfig::from_url("redis://h").unwrap().tls_roots(b"").unwrap_err();
        assert_eq!(no_tls, RedisConfigError::TlsWithoutRediss);
    }

    #[test]
    fn passwords_stay_out_of_what_is_printed() {
        let config = RedisConfig::from_url("redis://me:secret@h").unwrap();
        assert!(!format!("{config:?}").contains("secret"));
        let error = RedisConfig::from_url("redis://me:secret@h,other:secret@g").unwrap_err();
        assert!(!format!("{error:?} {error}").contains("secret"));
    }
}
