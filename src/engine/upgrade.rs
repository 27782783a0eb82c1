//! The WebSocket handshake (RFC 6455, section 4.2; over HTTP/2, RFC 8441), with the answers of Node's `ws`.

use std::collections::HashSet;

use http::header::{
    CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;
use tungstenite::handshake::derive_accept_key;

use super::ResponseBody;
use super::permessage_deflate::{Negotiated, PerMessageDeflate};
use super::refusal::abort_upgrade;

/// A WebSocket whose 101 is being written, with what the handshake agreed upon.
#[derive(Debug)]
pub(crate) struct PendingUpgrade {
    pub(crate) on_upgrade: OnUpgrade,
    pub(crate) deflate: Option<Negotiated>,
}

/// Whether Node's HTTP server would see an upgrade (`Connection` lists it and `Upgrade` is there), or a client on HTTP/2
/// asks for a WebSocket.
pub(crate) fn is_requested<B>(request: &Request<B>) -> bool {
    is_connect(request)
        || request.version() == Version::HTTP_11
            && request.headers().contains_key(UPGRADE)
            && request.headers().get_all(CONNECTION).iter().any(lists_upgrade)
}

/// Whether it is the extended CONNECT of RFC 8441, for a WebSocket.
pub(crate) fn is_connect<B>(request: &Request<B>) -> bool {
    let protocol = request.extensions().get::<Protocol>();
    request.method() == Method::CONNECT && protocol.is_some_and(|protocol| protocol.as_str() == "websocket")
}

/// The method a request is to be judged by: an extended CONNECT stands for the GET of RFC 6455.
pub(crate) fn method<B>(request: &Request<B>) -> &Method {
    if is_connect(request) { &Method::GET } else { request.method() }
}

fn lists_upgrade(value: &HeaderValue) -> bool {
    let tokens = value.to_str().unwrap_or("").split(',');
    tokens.into_iter().any(|token| token.trim().eq_ignore_ascii_case("upgrade"))
}

/// What is wrong with a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Invalid {
    Method,
    Upgrade,
    Key,
    Version,
    Protocol,
    Extensions,
}

impl Invalid {
    pub(crate) fn to_response(self) -> Response<ResponseBody> {
        let mut response = abort_upgrade(match self {
            Invalid::Method => "Invalid HTTP method",
            Invalid::Upgrade => "Invalid Upgrade header",
            Invalid::Key => "Missing or invalid Sec-WebSocket-Key header",
            Invalid::Version => "Missing or invalid Sec-WebSocket-Version header",
            Invalid::Protocol => "Invalid Sec-WebSocket-Protocol header",
            Invalid::Extensions => "Invalid or unacceptable Sec-WebSocket-Extensions header",
        });
        match self {
            Invalid::Method => *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED,
            Invalid::Version => {
                response.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13, 8"));
            }
            Invalid::Upgrade | Invalid::Key | Invalid::Protocol | Invalid::Extensions => {}
        }
        response
    }
}

/// The 101 for a valid handshake (or what takes its place on HTTP/2), and what is agreed upon about compression.
pub(crate) fn accept<B>(
    request: &Request<B>,
    deflate: Option<&PerMessageDeflate>,
) -> Result<(Response<ResponseBody>, Option<Negotiated>), Invalid> {
    if is_connect(request) {
        return accept_connect(request.headers(), deflate);
    }
    let headers = request.headers();
    if request.method() != Method::GET {
        return Err(Invalid::Method);
    }
    if !headers.get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket")) {
        return Err(Invalid::Upgrade);
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes).filter(|key| is_key(key));
    let key = key.ok_or(Invalid::Key)?;
    check_version(headers)?;
    let (agreed, negotiated) = agree(headers, deflate)?;
    let mut response = Response::new(ResponseBody::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answer = response.headers_mut();
    answer.insert(UPGRADE, HeaderValue::from_static("websocket"));
    answer.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    let accept = HeaderValue::try_from(derive_accept_key(key)).expect("base64 is a header value");
    answer.insert(SEC_WEBSOCKET_ACCEPT, accept);
    answer.extend(agreed);
    Ok((response, negotiated))
}

/// The 200 for a valid extended CONNECT: "the [Sec-WebSocket-Key and Sec-WebSocket-Accept] header fields are not
/// processed", and `Connection` and `Upgrade` do not exist on HTTP/2 (RFC 8441, section 5).
fn accept_connect(
    headers: &HeaderMap,
    deflate: Option<&PerMessageDeflate>,
) -> Result<(Response<ResponseBody>, Option<Negotiated>), Invalid> {
    check_version(headers)?;
    let (agreed, negotiated) = agree(headers, deflate)?;
    let mut response = Response::new(ResponseBody::default());
    *response.headers_mut() = agreed;
    Ok((response, negotiated))
}

/// What the answer says of subprotocol and extensions.
fn agree(
    headers: &HeaderMap,
    deflate: Option<&PerMessageDeflate>,
) -> Result<(HeaderMap, Option<Negotiated>), Invalid> {
    let mut answer = HeaderMap::new();
    if let Some(protocol) = first_protocol(headers)? {
        answer.insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    let extension = match deflate {
        Some(options) => options.negotiate(headers)?,
        None => None,
    };
    let negotiated = extension.map(|(header, negotiated)| {
        answer.insert(SEC_WEBSOCKET_EXTENSIONS, header);
        negotiated
    });
    Ok((answer, negotiated))
}

fn check_version(headers: &HeaderMap) -> Result<(), Invalid> {
    let version = headers.get(SEC_WEBSOCKET_VERSION);
    let known = version.is_some_and(|version| version == "13" || version == "8");
    if known { Ok(()) } else { Err(Invalid::Version) }
}

/// Twenty-two characters of base64 and two pads: sixteen bytes.
fn is_key(key: &[u8]) -> bool {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.len() == 24 && key.ends_with(b"==") && key[..22].iter().all(is_base64)
}

/// The first subprotocol the client offers is selected, as on Node.
fn first_protocol(headers: &HeaderMap) -> Result<Option<HeaderValue>, Invalid> {
    let Some(offer) = headers.get(SEC_WEBSOCKET_PROTOCOL) else { return Ok(None) };
    let offered: Vec<&str> =
        offer.to_str().map_err(|_| Invalid::Protocol)?.split(',').map(str::trim).collect();
    // A set: a header of many kilobytes must not cost its square.
    let mut names = HashSet::with_capacity(offered.len());
    if !offered.iter().all(|name| is_token(name) && names.insert(*name)) {
        return Err(Invalid::Protocol);
    }
    HeaderValue::try_from(offered[0]).map(Some).map_err(|_| Invalid::Protocol)
}

pub(crate) fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
