//! Forwarded: what trusted proxies say of the client behind them.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Once;

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName};
use ipnet::IpNet;
use tracing::warn;

use super::{ConfigError, EngineConfig, PeerInfo};

/// The header by which trusted proxies say whom they speak for. Only the chosen one is read: a proxy that writes the
/// one passes the other on as the client sent it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForwardedHeader {
    /// `Forwarded` (RFC 7239), with its parameters `for` and `proto`.
    Forwarded,
    /// `X-Forwarded-For` and `X-Forwarded-Proto`, which most proxies write.
    #[default]
    XForwarded,
}

/// The proxies that are believed; none by default.
#[derive(Clone, Debug)]
pub(crate) struct TrustedProxies {
    ranges: Vec<IpNet>,
    header: ForwardedHeader,
}

impl TrustedProxies {
    /// Parses the option.
    pub(crate) fn new(config: &EngineConfig) -> Result<TrustedProxies, ConfigError> {
        let ranges =
            config.trusted_proxies.iter().map(|range| parse_range(range)).collect::<Result<_, _>>()?;
        Ok(TrustedProxies { ranges, header: config.forwarded_header })
    }

    /// Finds out whom a request comes from, given who sent it to us.
    ///
    /// Each proxy adds at the end what it knows, so the list is read from there, for as long as the one who wrote the
    /// entry is trusted; what stands before may be the client's invention. The first address that is not trusted is the
    /// client's. An entry without a usable address ends the reading.
    pub(crate) fn resolve(&self, headers: &HeaderMap, sender: PeerInfo) -> PeerInfo {
        let mut peer = sender;
        if !self.ranges.is_empty() && peer.address.is_none() {
            static WARN: Once = Once::new();
            WARN.call_once(|| {
                warn!("trusted_proxies are set, but the host does not say who the peer is: see peer_address");
            });
        }
        if !self.trusts(peer.address) {
            return peer;
        }
        let hops: Box<dyn Iterator<Item = Hop>> = match self.header {
            ForwardedHeader::Forwarded => Box::new(forwarded_hops(headers)),
            ForwardedHeader::XForwarded => Box::new(x_forwarded_hops(headers)),
        };
        for hop in hops {
            peer.secure = hop.secure.unwrap_or(peer.secure);
            let Some(address) = hop.address else { break };
            peer.address = Some(address.to_canonical());
            if !self.trusts(peer.address) {
                break;
            }
        }
        peer
    }

    fn trusts(&self, address: Option<IpAddr>) -> bool {
        // A socket that listens on IPv6 reports IPv4 peers as `::ffff:192.0.2.1`.
        let among = |address: IpAddr| {
            let canonical = address.to_canonical();
            self.ranges.iter().any(|range| range.contains(&canonical) || range.contains(&address))
        };
        address.is_some_and(among)
    }
}

/// `192.0.2.0/24`, or one address.
fn parse_range(text: &str) -> Result<IpNet, ConfigError> {
    let address = text.parse::<IpAddr>().map(IpNet::from);
    address.or_else(|_| text.parse::<IpNet>()).map_err(|_| ConfigError {
        option: "trusted_proxies",
        value: format!("{text:?}"),
        accepted: "addresses (\"192.0.2.1\", \"2001:db8::1\") and ranges (\"192.0.2.0/24\", \"2001:db8::/32\")",
    })
}

/// What one proxy says of whoever it got the request from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Hop {
    address: Option<IpAddr>,
    secure: Option<bool>,
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The entries of both headers side by side, the nearest first.
fn x_forwarded_hops(headers: &HeaderMap) -> impl Iterator<Item = Hop> {
    let mut addresses = entries_from_the_end(headers, X_FORWARDED_FOR);
    let mut protocols = entries_from_the_end(headers, X_FORWARDED_PROTO);
    std::iter::from_fn(move || match (addresses.next(), protocols.next()) {
        (None, None) => None,
        (address, protocol) => {
            Some(Hop { address: address.and_then(parse_node), secure: protocol.and_then(parse_protocol) })
        }
    })
}

fn forwarded_hops(headers: &HeaderMap) -> impl Iterator<Item = Hop> {
    // An element that breaks the rules says nothing.
    entries_from_the_end(headers, FORWARDED).map(|element| parse_element(element).unwrap_or_default())
}

/// The entries of all lines of a header, the last first.
///
/// A comma separates also within quotes. No value that we read has one; and a quote that the client left open must not
/// swallow what the proxy added behind it.
fn entries_from_the_end(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    // A line that is not ASCII has no entry that we could read.
    let lines = headers.get_all(name).into_iter().rev().map(|line| line.to_str().unwrap_or(""));
    lines.flat_map(|line| line.rsplit(',')).map(str::trim)
}

/// `for=192.0.2.60;proto=https;by=203.0.113.43`; `None` when it is malformed.
fn parse_element(element: &str) -> Option<Hop> {
    let mut hop = Hop::default();
    let mut seen: Vec<String> = Vec::new();
    for pair in element.split(';').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=')?;
        let value = unquote(value)?;
        let name = name.to_ascii_lowercase();
        // "Each parameter MUST NOT occur more than once per field-value" (RFC 7239, section 4).
        if seen.contains(&name) {
            return None;
        }
        match &*name {
            "for" => hop.address = parse_node(&value),
            "proto" => hop.secure = parse_protocol(&value),
            _ => {}
        }
        seen.push(name);
    }
    Some(hop)
}

/// A token, or the text of a quoted string. Brackets and colons should be quoted, and often are not.
fn unquote(value: &str) -> Option<String> {
    let Some(quoted) = value.strip_prefix('"') else {
        return (!value.contains(['"', '\\'])).then(|| value.to_owned());
    };
    let mut characters = quoted.strip_suffix('"')?.chars();
    let mut text = String::new();
    while let Some(character) = characters.next() {
        match character {
            '\\' => text.push(characters.next()?),
            '"' => return None,
            _ => text.push(character),
        }
    }
    Some(text)
}

/// An address, with or without brackets and port; `None` for `unknown` and the `_hidden` names of RFC 7239, too.
fn parse_node(node: &str) -> Option<IpAddr> {
    // A hidden port is as good as none.
    let node = node.rsplit_once(":_").map_or(node, |(node, _port)| node);
    if let Ok(address) = node.parse::<IpAddr>() {
        return Some(address);
    }
    if let Ok(address) = node.parse::<SocketAddr>() {
        return Some(address.ip());
    }
    node.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}

fn parse_protocol(protocol: &str) -> Option<bool> {
    match &*protocol.to_ascii_lowercase() {
        "https" | "wss" => Some(true),
        "http" | "ws" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(header: ForwardedHeader) -> TrustedProxies {
        let trusted_proxies = ["10.0.0.0/8", "2001:db8:1::/48", "192.0.2.1"].map(str::to_owned).to_vec();
        let config = EngineConfig { trusted_proxies, forwarded_header: header, ..EngineConfig::default() };
        TrustedProxies::new(&config).unwrap()
    }

    /// What becomes of a plain request from `sender` with these header lines.
    fn resolve(header: ForwardedHeader, sender: &str, lines: &[(&'static str, &str)]) -> (String, bool) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        let sender = PeerInfo { address: Some(sender.parse().unwrap()), secure: false };
        let peer = proxies(header).resolve(&headers, sender);
        (peer.address.unwrap().to_string(), peer.secure)
    }

    fn check_for(lines: &[&str], expected: &str) {
        let lines: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
        assert_eq!(resolve(ForwardedHeader::XForwarded, "10.0.0.1", &lines).0, expected, "{lines:?}");
    }

    fn check_forwarded(lines: &[&str], expected: &str, secure: bool) {
        let lines: Vec<_> = lines.iter().map(|line| ("forwarded", *line)).collect();
        let peer = resolve(ForwardedHeader::Forwarded, "10.0.0.1", &lines);
        assert_eq!(peer, (expected.to_owned(), secure), "{lines:?}");
    }

    #[test]
    fn the_right_most_address_that_is_not_trusted_is_the_clients() {
        check_for(&["203.0.113.7"], "203.0.113.7");
        check_for(&["6.6.6.6, 203.0.113.7"], "203.0.113.7");
        check_for(&["6.6.6.6, 203.0.113.7, 10.0.0.2, 192.0.2.1"], "203.0.113.7");
        check_for(&["6.6.6.6,203.0.113.7 ,10.0.0.2"], "203.0.113.7");
    }

    #[test]
    fn several_lines_are_one_list() {
        check_for(&["6.6.6.6", "203.0.113.7", "10.0.0.2"], "203.0.113.7");
        check_for(&["6.6.6.6, 203.0.113.7", "10.0.0.2"], "203.0.113.7");
        check_forwarded(&["for=6.6.6.6", "for=203.0.113.7;proto=https, for=10.0.0.2"], "203.0.113.7", true);
    }

    #[test]
    fn if_all_are_trusted_it_is_the_left_most() {
        check_for(&["10.0.0.3, 10.0.0.2"], "10.0.0.3");
        check_for(&[], "10.0.0.1");
    }

    #[test]
    fn an_address_may_have_a_port_and_brackets() {
        check_for(&["203.0.113.7:4711"], "203.0.113.7");
        check_for(&["2001:db8::17"], "2001:db8::17");
        check_for(&["[2001:db8::17]"], "2001:db8::17");
        check_for(&["[2001:db8::17]:4711"], "2001:db8::17");
        check_for(&["203.0.113.7, 2001:db8:1::2"], "203.0.113.7");
        check_for(&["203.0.113.7, ::ffff:10.0.0.2"], "203.0.113.7");
    }

    #[test]
    fn what_is_no_address_ends_the_reading() {
        for malformed in [
            "",
            "unknown",
            "client",
            "203.0.113",
            "203.0.113.7:",
            "203.0.113.7:x",
            "[2001:db8::17",
            "[203.0.113.7]",
            "::1%eth0",
        ] {
            check_for(&[&format!("203.0.113.7, {malformed}")], "10.0.0.1");
            check_for(&[&format!("203.0.113.7, {malformed}, 10.0.0.2")], "10.0.0.2");
        }
        let lines = [("x-forwarded-for", "203.0.113.7"), ("x-forwarded-for", "é")];
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let sender = PeerInfo { address: Some("10.0.0.1".parse().unwrap()), secure: false };
        assert_eq!(proxies(ForwardedHeader::XForwarded).resolve(&headers, sender), sender);
    }

    #[test]
    fn who_is_not_trusted_is_not_believed() {
        let lines = [("x-forwarded-for", "203.0.113.7"), ("x-forwarded-proto", "https")];
        let check = |sender: &str, expected: &str, secure| {
            assert_eq!(resolve(ForwardedHeader::XForwarded, sender, &lines), (expected.to_owned(), secure));
        };
        check("198.51.100.1", "198.51.100.1", false);
        check("192.0.2.2", "192.0.2.2", false);
        check("192.0.2.1", "203.0.113.7", true);
        check("::ffff:10.0.0.1", "203.0.113.7", true);
        check("2001:db8:1::1", "203.0.113.7", true);
    }

    #[test]
    fn without_trusted_proxies_nothing_is_read() {
        let none = TrustedProxies::new(&EngineConfig::default()).unwrap();
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", "203.0.113.7".parse().unwrap());
        let sender = PeerInfo { address: Some("10.0.0.1".parse().unwrap()), secure: false };
        assert_eq!(none.resolve(&headers, sender), sender);
        assert_eq!(none.resolve(&headers, PeerInfo::default()), PeerInfo::default());
    }

    #[test]
    fn only_the_chosen_header_counts() {
        let lines = [("x-forwarded-for", "203.0.113.7"), ("forwarded", "for=203.0.113.8")];
        assert_eq!(resolve(ForwardedHeader::XForwarded, "10.0.0.1", &lines).0, "203.0.113.7");
        assert_eq!(resolve(ForwardedHeader::Forwarded, "10.0.0.1", &lines).0, "203.0.113.8");
    }

    #[test]
    fn the_protocol_is_that_of_the_farthest_proxy_that_is_trusted() {
        let check = |addresses: &str, protocols: &str, secure| {
            let mut lines = vec![("x-forwarded-proto", protocols)];
            if !addresses.is_empty() {
                lines.push(("x-forwarded-for", addresses));
            }
            let peer = resolve(ForwardedHeader::XForwarded, "10.0.0.1", &lines);
            assert_eq!(peer.1, secure, "{addresses:?} {protocols:?}");
        };
        check("", "https", true);
        check("203.0.113.7", "https", true);
        check("203.0.113.7", "HTTPS", true);
        check("203.0.113.7", "wss", true);
        check("203.0.113.7", "http", false);
        check("203.0.113.7", "gopher", false);
        check("203.0.113.7, 10.0.0.2", "https", true);
        check("203.0.113.7, 10.0.0.2", "https, http", true);
        check("203.0.113.7", "https, http", false);
        check("6.6.6.6, 203.0.113.7, 10.0.0.2", "https, http, http", false);
    }

    #[test]
    fn a_forwarded_element_has_parameters_in_any_order_and_case() {
        check_forwarded(&["for=203.0.113.7"], "203.0.113.7", false);
        check_forwarded(&["For=203.0.113.7; Proto=HTTPS ;by=10.0.0.1"], "203.0.113.7", true);
        check_forwarded(&["proto=https;host=example.org;for=\"203.0.113.7:4711\""], "203.0.113.7", true);
        check_forwarded(&["for=\"[2001:db8::17]\""], "2001:db8::17", false);
        check_forwarded(&["for=\"[2001:db8::17]:4711\""], "2001:db8::17", false);
        check_forwarded(&["for=\"[2001:db8::17]:_port\""], "2001:db8::17", false);
        check_forwarded(&["for=\"203.0.113.7:_p\""], "203.0.113.7", false);
        check_forwarded(&["for=\"203\\.0.113.7\""], "203.0.113.7", false);
        check_forwarded(&["for=[2001:db8::17]:4711"], "2001:db8::17", false);
    }

    #[test]
    fn a_hidden_client_leaves_the_last_proxy_that_is_known() {
        check_forwarded(&["for=6.6.6.6, for=unknown;proto=https, for=10.0.0.2"], "10.0.0.2", true);
        check_forwarded(&["for=6.6.6.6, for=_hidden, for=10.0.0.2"], "10.0.0.2", false);
        check_forwarded(&["for=6.6.6.6, proto=https"], "10.0.0.1", true);
    }

    #[test]
    fn a_malformed_element_ends_the_reading() {
        for malformed in [
            "",
            "for",
            "for=6.6.6.6;for=7.7.7.7",
            "for=\"6.6.6.6",
            "for=6.6.6.6\"",
            "for=\"6.6.6.6\"x",
            "for=\"6.6.6.6\\\"",
            "for=\"6.6\".6.6",
        ] {
            check_forwarded(
                &[&format!("for=203.0.113.7, {malformed};proto=https")],
                "10.0.0.1",
                malformed.is_empty(),
            );
            check_forwarded(&[&format!("for=203.0.113.7, {malformed}, for=10.0.0.2")], "10.0.0.2", false);
        }
    }

    #[test]
    fn a_quote_left_open_swallows_nothing() {
        check_forwarded(&["for=\"6.6.6.6, for=203.0.113.7"], "203.0.113.7", false);
        check_forwarded(&["for=6.6.6.6;x=\"", "for=\"[2001:db8::17]\""], "2001:db8::17", false);
        check_forwarded(&["for=6.6.6.6;x=\", for=\"[2001:db8::17]\""], "2001:db8::17", false);
    }

    #[test]
    fn a_range_that_is_none_is_named() {
        for wrong in ["", "localhost", "10.0.0.0/33", "10.0.0/8", "10.0.0.1:80", "2001:db8::/129"] {
            let trusted_proxies = vec!["10.0.0.0/8".to_owned(), wrong.to_owned()];
            let config = EngineConfig { trusted_proxies, ..EngineConfig::default() };
            let error = config.validate().unwrap_err();
            assert_eq!((error.option, error.value), ("trusted_proxies", format!("{wrong:?}")));
        }
    }
}
