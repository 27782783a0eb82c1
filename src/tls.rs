//! Tls: a certificate and its key, for `listen_tls`.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_rustls::server::TlsStream;

use crate::sync::RwLock;

/// A certificate with its key, as [`Server::listen_tls`](crate::Server::listen_tls) needs it. Cheap to clone; all clones
/// are the same certificate, also after [`Tls::replace`].
///
/// TLS 1.2 and 1.3 are spoken; clients choose HTTP/2 or HTTP/1.1 by ALPN.
#[derive(Clone)]
pub struct Tls {
    config: Arc<RwLock<Arc<ServerConfig>>>,
}

impl Tls {
    /// Reads a certificate chain (the server's own certificate first) and its private key (PKCS #8, PKCS #1 or SEC 1, not
    /// encrypted), both as PEM.
    ///
    /// # Errors
    /// What is wrong with them, see [`TlsError`].
    ///
    /// # Example: a certificate in files
    /// ```no_run
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// let tls = ferrio::Tls::from_pem(&std::fs::read("fullchain.pem")?, &std::fs::read("privkey.pem")?)?;
    /// let listening = ferrio::Server::new().listen_tls("0.0.0.0:443", tls).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Tls, TlsError> {
        Ok(Tls { config: Arc::new(RwLock::new(server_config(chain, key)?)) })
    }

    /// Takes another certificate, a renewed one, for all connections that are accepted from now on.
    ///
    /// # Errors
    /// As [`Tls::from_pem`]; the old one then stays.
    pub fn replace(&self, chain: &[u8], key: &[u8]) -> Result<(), TlsError> {
        let config = server_config(chain, key)?;
        *self.config.write() = config;
        Ok(())
    }

    /// Performs the handshake of a connection.
    pub(crate) async fn accept<S>(&self, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = Arc::clone(&self.config.read());
        tokio::time::timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(config).accept(stream)).await?
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It holds the key.
        f.write_str("Tls")
    }
}

/// What is wrong with a certificate or its key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsError {
    /// The server's own certificate cannot be read.
    InvalidCertificate {
        /// What is wrong with it.
        reason: String,
    },
    /// The private key cannot be read, or is of a kind that is not supported.
    InvalidKey {
        /// What is wrong with it.
        reason: String,
    },
    /// A text has a broken PEM block.
    InvalidPem {
        /// Which of the two, `chain` or `key`.
        argument: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The key is not that of the first certificate.
    KeyMismatch,
    /// The chain has no certificate.
    NoCertificate,
    /// There is no private key, or it is encrypted.
    NoKey,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::InvalidCertificate { reason } => write!(f, "the certificate cannot be read: {reason}"),
            TlsError::InvalidKey { reason } => write!(f, "the private key cannot be read: {reason}"),
            TlsError::InvalidPem { argument, reason } => write!(f, "the {argument} is not PEM: {reason}"),
            TlsError::KeyMismatch => f.write_str(
                "the private key does not match the first certificate (the server's own must come first)",
            ),
            TlsError::NoCertificate => {
                f.write_str("the chain has no certificate (a block that begins with BEGIN CERTIFICATE)")
            }
            TlsError::NoKey => f.write_str(
                "there is no private key (a block that begins with BEGIN PRIVATE KEY, BEGIN RSA PRIVATE KEY or BEGIN \
                 EC PRIVATE KEY; an encrypted one cannot be used)",
            ),
        }
    }
}

impl std::error::Error for TlsError {}

fn server_config(chain: &[u8], key: &[u8]) -> Result<Arc<ServerConfig>, TlsError> {
    let invalid = |error: pem::Error| TlsError::InvalidPem { argument: "chain", reason: error.to_string() };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>().map_err(invalid)?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate);
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::NoKey,
        error => TlsError::InvalidPem { argument: "key", reason: error.to_string() },
    })?;
    // The provider is passed on, so that what else uses rustls in the process can choose its own.
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has what both versions need")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => TlsError::KeyMismatch,
            rustls::Error::InvalidCertificate(error) => {
                TlsError::InvalidCertificate { reason: error.to_string() }
            }
            error => TlsError::InvalidKey { reason: error.to_string() },
        })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// A few round trips on the slowest of networks; meanwhile the connection costs memory and has asked for nothing.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
