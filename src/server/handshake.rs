//! Handshake: what a socket came with.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use bytestring::ByteString;
use indexmap::IndexMap;
use serde::de::DeserializeOwned;
use serde::ser::{Serialize, SerializeMap, SerializeStruct, Serializer};

use crate::engine::{Connection, Headers};
use crate::proto::socketio::{ArgsError, Map, Payload, Value};

/// What a socket came with: the request that opened its connection, and what the client sent when it joined the
/// namespace. Serialized, it is Node's `socket.handshake`.
pub struct Handshake {
    connection: Arc<Connection>,
    auth: Option<Payload>,
    issued: SystemTime,
}

impl Handshake {
    pub(crate) fn new(connection: Arc<Connection>, auth: Option<&Payload>, issued: SystemTime) -> Handshake {
        // A copy: the payload is a part of a message, whose buffer would stay as long as the socket.
        let auth = auth.and_then(|auth| {
            let copy = Payload::object_from_json(ByteString::from(auth.json().to_string()))?;
            if auth.attachments().is_empty() {
                return Some(copy);
            }
            let attachments = auth.attachments().iter().map(|data| Bytes::copy_from_slice(data)).collect();
            copy.with_attachments(attachments, usize::MAX)
        });
        Handshake { connection, auth, issued }
    }

    /// Gives the headers of the request that opened the connection.
    pub fn headers(&self) -> &Headers {
        &self.connection.request().headers
    }

    /// Says when the socket was made, as JavaScript writes dates: `Mon Nov 23 2026 01:27:29 GMT+0000 (Coordinated
    /// Universal Time)`.
    pub fn time(&self) -> String {
        JavaScriptDate(self.issued).to_string()
    }

    /// Says when the socket was made, in milliseconds since 1970.
    pub fn issued(&self) -> u64 {
        let since = self.issued.duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// Gives the peer's address, where the host knows it.
    pub fn address(&self) -> Option<IpAddr> {
        self.connection.request().peer_address
    }

    /// Whether the request came over TLS.
    pub fn secure(&self) -> bool {
        self.connection.request().secure
    }

    /// Whether the request came from a page of another origin: it has an `Origin` header.
    pub fn xdomain(&self) -> bool {
        self.headers().iter().any(|(name, _)| name == "origin")
    }

    /// Gives path and query of the request as they came.
    pub fn url(&self) -> &str {
        &self.connection.request().url
    }

    /// Reads the query of the request, Engine.IO's own parameters included.
    pub fn query(&self) -> Query {
        Query::parse(self.url())
    }

    /// Reads what the client sent as `auth`; `{}` if it sent nothing. [`ConnectError`](super::ConnectError) has an example.
    ///
    /// # Errors
    /// If it is something else than `T` says.
    pub fn auth<T: DeserializeOwned>(&self) -> Result<T, AuthError> {
        let read = match &self.auth {
            Some(auth) => auth.args(),
            None => {
                Payload::value(&Value::Object(Map::new())).expect("an empty object has a JSON form").args()
            }
        };
        read.map_err(|reason| AuthError { reason })
    }

    /// Gives what the client sent as `auth`, whatever it is; `{}` if it sent nothing.
    pub fn auth_value(&self) -> Value {
        self.auth().unwrap_or_default()
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers, query and auth hold credentials.
        f.debug_struct("Handshake").field("address", &self.address()).finish_non_exhaustive()
    }
}

impl Serialize for Handshake {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Handshake", 9)?;
        fields.serialize_field("headers", &HeaderMap(self.headers()))?;
        fields.serialize_field("time", &self.time())?;
        fields.serialize_field("address", &self.address())?;
        fields.serialize_field("xdomain", &self.xdomain())?;
        fields.serialize_field("secure", &self.secure())?;
        fields.serialize_field("issued", &self.issued())?;
        fields.serialize_field("url", self.url())?;
        fields.serialize_field("query", &self.query())?;
        fields.serialize_field("auth", &self.auth_value())?;
        fields.end()
    }
}

/// Says why what the client sent as `auth` cannot be read as what was asked for, e.g. ``auth: missing field `token` ``.
#[derive(Debug)]
pub struct AuthError {
    reason: ArgsError,
}

impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            // It is no argument, nor has it any.
            ArgsError::Invalid { reason, .. } | ArgsError::Unexpected { reason } => {
                write!(f, "auth: {reason}")
            }
            missing @ ArgsError::Missing { .. } => write!(f, "auth: {missing}"),
        }
    }
}

impl std::error::Error for AuthError {}

/// The parameters of a query string in order; of several with one name, the last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(IndexMap<String, String>);

impl Query {
    fn parse(url: &str) -> Query {
        let query = url.split_once('?').map_or("", |(_, query)| query);
        Query(form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    /// Looks up a parameter.
    pub fn get(&self, name: &str) -> Option<&String> {
        self.0.get(name)
    }

    /// Gives names and values in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl Serialize for Query {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(&self.0)
    }
}

/// Headers as Node's object: repeated ones joined, but for those of which Node keeps the first.
struct HeaderMap<'a>(&'a Headers);

impl Serialize for HeaderMap<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut joined: IndexMap<&str, String> = IndexMap::new();
        for (name, value) in self.0.iter() {
            // "latin1" is how Node reads header values.
            let value = value.iter().map(|byte| char::from(*byte));
            match joined.get_mut(name) {
                None => {
                    joined.insert(name, value.collect());
                }
                Some(_) if FIRST_WINS.contains(&name) => {}
                Some(before) => {
                    before.push_str(if name == "cookie" { "; " } else { ", " });
                    before.extend(value);
                }
            }
        }
        let mut map = serializer.serialize_map(Some(joined.len()))?;
        for (name, value) in &joined {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// "Duplicates of age, authorization, … are discarded" (Node.js, message.headers); those a request may have.
const FIRST_WINS: [&str; 12] = [
    "authorization",
    "content-length",
    "content-type",
    "from",
    "host",
    "if-modified-since",
    "if-unmodified-since",
    "max-forwards",
    "proxy-authorization",
    "referer",
    "retry-after",
    "user-agent",
];

/// A date as JavaScript's `Date.prototype.toString` writes it, in UTC. (Twenty lines are less than a date library.)
struct JavaScriptDate(SystemTime);

impl fmt::Display for JavaScriptDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        let (year, month, day) = civil_date(days);
        let weekday = WEEKDAYS[(days % 7) as usize];
        let month = MONTHS[month];
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(
            f,
            "{weekday} {month} {day:02} {year:04} {hour:02}:{minute:02}:{second:02} GMT+0000 (Coordinated Universal \
             Time)"
        )
    }
}

/// Year, month from 0 and day of month of the day that is `days` after 1970-01-01.
fn civil_date(days: u64) -> (u64, usize, u64) {
    // Count years from 1 March of year 0, so that the leap day is the last of its year, in eras of 400 years.
    let day = days + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 { (month + 2, 0) } else { (month - 10, 1) };
    (era * 400 + year + next_year, month as usize, day)
}

/// 1970-01-01 was a Thursday.
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn date(seconds: u64) -> String {
        JavaScriptDate(UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
    }

    #[test]
    fn dates_read_as_javascript_writes_them() {
        let check = |seconds, expected: &str| {
            assert_eq!(date(seconds), format!("{expected} GMT+0000 (Coordinated Universal Time)"));
        };
        check(0, "Thu Jan 01 1970 00:00:00");
        check(951_782_399, "Mon Feb 28 2000 23:59:59");
        check(951_782_400, "Tue Feb 29 2000 00:00:00");
        check(951_868_800, "Wed Mar 01 2000 00:00:00");
        check(1_795_397_249, "Mon Nov 23 2026 01:27:29");
        check(4_107_542_400, "Mon Mar 01 2100 00:00:00");
    }

    #[test]
    fn the_last_of_several_parameters_wins() {
        let query = Query::parse("/socket.io/?EIO=4&a=1&a=b%20c+d&t=");
        let read: Vec<_> = query.iter().collect();
        assert_eq!(read, [("EIO", "4"), ("a", "b c d"), ("t", "")]);
        assert_eq!(Query::parse("/socket.io/"), Query::default());
    }

    #[test]
    fn repeated_headers_are_joined_as_on_node() {
        let mut headers = http::HeaderMap::new();
        for (name, value) in [
            ("cookie", "a=1"),
            ("x-a", "1"),
            ("host", "one"),
            ("cookie", "b=2"),
            ("x-a", "2"),
            ("host", "two"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        let json = serde_json::to_value(HeaderMap(&Headers::from(&headers))).unwrap();
        assert_eq!(json, serde_json::json!({"cookie": "a=1; b=2", "x-a": "1, 2", "host": "one"}));
    }
}
