//! The WebSocket handshake (RFC 6455, section 4.2; over HTTP/2, RFC 8441), with the answers of Node's `ws`.

use http::header::{
    CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use hyper::ext::Protocol;
use tungstenite::handshake::derive_accept_key;

use super::ResponseBody;
use super::refusal::abort_upgrade;

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
}

impl Invalid {
    pub(crate) fn to_response(self) -> Response<ResponseBody> {
        let mut response = abort_upgrade(match self {
            Invalid::Method => "Invalid HTTP method",
            Invalid::Upgrade => "Invalid Upgrade header",
            Invalid::Key => "Missing or invalid Sec-WebSocket-Key header",
            Invalid::Version => "Missing or invalid Sec-WebSocket-Version header",
            Invalid::Protocol => "Invalid Sec-WebSocket-Protocol header",
        });
        match self {
            Invalid::Method => *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED,
            Invalid::Version => {
                response.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13, 8"));
            }
            Invalid::Upgrade | Invalid::Key | Invalid::Protocol => {}
        }
        response
    }
}

/// The 101 for a valid handshake, or what takes its place on HTTP/2.
pub(crate) fn accept<B>(request: &Request<B>) -> Result<Response<ResponseBody>, Invalid> {
    if is_connect(request) {
        return accept_connect(request.headers());
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
    let protocol = first_protocol(headers)?;
    let mut response = Response::new(ResponseBody::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answer = response.headers_mut();
    answer.insert(UPGRADE, HeaderValue::from_static("websocket"));
    answer.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    let accept = HeaderValue::try_from(derive_accept_key(key)).expect("base64 is a header value");
    answer.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(protocol) = protocol {
        answer.insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    Ok(response)
}

/// The 200 for a valid extended CONNECT: "the [Sec-WebSocket-Key and Sec-WebSocket-Accept] header fields are not
/// processed", and `Connection` and `Upgrade` do not exist on HTTP/2 (RFC 8441, section 5).
fn accept_connect(headers: &HeaderMap) -> Result<Response<ResponseBody>, Invalid> {
    check_version(headers)?;
    let mut response = Response::new(ResponseBody::default());
    if let Some(protocol) = first_protocol(headers)? {
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    Ok(response)
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
    let unique = |(index, name): (usize, &&str)| !offered[..index].contains(name);
    if !offered.iter().all(|name| is_token(name)) || !offered.iter().enumerate().all(unique) {
        return Err(Invalid::Protocol);
    }
    HeaderValue::try_from(offered[0]).map(Some).map_err(|_| Invalid::Protocol)
}

fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
