//! CookieOptions: the cookie that carries the session id, for load balancers that route by it.

use std::fmt::{self, Write};
use std::time::{Duration, SystemTime};

use http::HeaderValue;

use super::ConfigError;

/// The cookie of a session, under the names of Node's `cookie` option; its value is the session id.
///
/// It is set once, by the answer to a polling handshake, and never read: it is for load balancers that keep a client
/// on one server. The default is Node's: `io=<id>; Path=/; HttpOnly; SameSite=Lax`.
///
/// # Example: a cookie that another site's page may send, too
/// ```
/// use ferrio::engine::{CookieOptions, SameSite};
///
/// let mut cookie = CookieOptions::default();
/// cookie.same_site = Some(SameSite::None);
/// cookie.secure = true;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CookieOptions {
    /// The cookie's name. Default `io`. Another one where two servers share a host.
    pub name: String,
    /// `Path`: below which path the browser sends it back. Default `/`. None, or an empty one: the attribute is left
    /// out, and the browser takes the folder of the request.
    pub path: Option<String>,
    /// `HttpOnly`: scripts of the page cannot read it. Default true; the value is a credential.
    pub http_only: bool,
    /// `SameSite`: whether requests of other sites' pages carry it. Default Lax. None: the attribute is left out, and
    /// the browser decides.
    pub same_site: Option<SameSite>,
    /// `Max-Age`, in whole seconds (a fraction is dropped): how long the browser keeps it. Default none: until it is
    /// closed. Zero deletes it at once.
    pub max_age: Option<Duration>,
    /// `Domain`: also sent to subdomains of this one. Default none, or an empty one: only to the host that set it.
    pub domain: Option<String>,
    /// `Expires`, as `Max-Age` but a fixed point in time. Default none. `Max-Age` wins where both are given.
    pub expires: Option<SystemTime>,
    /// `Secure`: only sent over HTTPS. Default false. True wherever the clients' connections are encrypted.
    pub secure: bool,
    /// `Partitioned`: one cookie for each site that embeds this one. Default false. Browsers want `secure` with it.
    pub partitioned: bool,
    /// `Priority`: which cookies the browser drops first when there are too many. Default none.
    pub priority: Option<CookiePriority>,
}

/// Whether requests that another site's page makes carry the cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    /// Only when the user follows a link.
    Lax,
    /// Yes. Browsers want [`CookieOptions::secure`] with it.
    None,
    /// Never.
    Strict,
}

/// Which cookies a browser drops first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CookiePriority {
    /// First.
    Low,
    /// As if none were given.
    Medium,
    /// Last.
    High,
}

impl Default for CookieOptions {
    fn default() -> CookieOptions {
        CookieOptions {
            name: "io".to_owned(),
            path: Some("/".to_owned()),
            http_only: true,
            same_site: Some(SameSite::Lax),
            max_age: None,
            domain: None,
            expires: None,
            secure: false,
            partitioned: false,
            priority: None,
        }
    }
}

impl CookieOptions {
    /// Checks every option.
    ///
    /// # Errors
    /// The first option whose value makes no sense, with what would.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let path = self.path.as_deref().unwrap_or_default();
        let domain = self.domain.as_deref().unwrap_or_default();
        let checks = [
            (is_token(&self.name), "cookie.name", &*self.name, "a token, as RFC 6265 has it"),
            (is_path(path), "cookie.path", path, "printable ASCII without ; and <"),
            (
                domain.is_empty() || is_domain(domain),
                "cookie.domain",
                domain,
                "a host name in ASCII, perhaps with a leading dot",
            ),
        ];
        for (valid, option, value, accepted) in checks {
            if !valid {
                return Err(ConfigError { option, value: format!("{value:?}"), accepted });
            }
        }
        match self.expires {
            Some(time) if !EXPIRY_SECONDS.contains(&unix_seconds(time)) => Err(ConfigError {
                option: "cookie.expires",
                value: format!("{time:?}"),
                accepted: "a time in the years 1601 to 9999, which is what browsers read",
            }),
            _ => Ok(()),
        }
    }

    /// The value of `Set-Cookie` for a session. The attributes stand in the order of Node's `cookie` package.
    pub(crate) fn header_value(&self, sid: &str) -> HeaderValue {
        let text = Cookie { options: self, sid }.to_string();
        HeaderValue::try_from(text).expect("the options were checked by validate, the id is percent-encoded")
    }
}

struct Cookie<'a> {
    options: &'a CookieOptions,
    sid: &'a str,
}

impl fmt::Display for Cookie<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = self.options;
        write!(f, "{}=", options.name)?;
        encode_uri_component(self.sid, f)?;
        if let Some(max_age) = options.max_age {
            write!(f, "; Max-Age={}", max_age.as_secs())?;
        }
        for (name, value) in [("Domain", &options.domain), ("Path", &options.path)] {
            if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
                write!(f, "; {name}={value}")?;
            }
        }
        if let Some(expires) = options.expires {
            f.write_str("; Expires=")?;
            write_date(expires, f)?;
        }
        for (name, present) in [
            ("HttpOnly", options.http_only),
            ("Secure", options.secure),
            ("Partitioned", options.partitioned),
        ] {
            if present {
                write!(f, "; {name}")?;
            }
        }
        // The names of the variants are those of the attributes' values.
        if let Some(priority) = options.priority {
            write!(f, "; Priority={priority:?}")?;
        }
        if let Some(same_site) = options.same_site {
            write!(f, "; SameSite={same_site:?}")?;
        }
        Ok(())
    }
}

/// JavaScript's `encodeURIComponent`.
fn encode_uri_component(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for &byte in text.as_bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte) {
            f.write_char(char::from(byte))?;
        } else {
            write!(f, "%{byte:02X}")?;
        }
    }
    Ok(())
}

fn is_token(name: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(token)
}

/// Node's package refuses `<` along with `;`.
fn is_path(path: &str) -> bool {
    path.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b';' && byte != b'<')
}

fn is_domain(domain: &str) -> bool {
    domain.strip_prefix('.').unwrap_or(domain).split('.').all(|label| {
        (1..=LONGEST_LABEL).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    })
}

/// "Labels […] must be 63 characters or less." (RFC 1035, 2.3.1)
const LONGEST_LABEL: usize = 63;

/// From 1601 to the end of 9999: a browser ignores other years ("If the year-value is less than 1601 […] fail",
/// RFC 6265, 5.1.1, which reads four digits).
const EXPIRY_SECONDS: std::ops::RangeInclusive<i64> = -11_644_473_600..=253_402_300_799;

/// Whole seconds since 1970, rounded down.
fn unix_seconds(time: SystemTime) -> i64 {
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => seconds(after),
        Err(before) => {
            let before = before.duration();
            -seconds(before).saturating_add(i64::from(before.subsec_nanos() > 0))
        }
    }
}

/// `Thu, 01 Jan 1970 00:00:00 GMT`.
fn write_date(time: SystemTime, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let seconds = unix_seconds(time);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil_date(days);
    // The first of January 1970 was a Thursday.
    let weekday = WEEKDAYS[days.rem_euclid(7) as usize];
    let month = MONTHS[month as usize - 1];
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    write!(f, "{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}

const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Year, month (from 1) and day (from 1) of a day counted from 1970, in the Gregorian calendar.
///
/// It counts in years that begin with March, so that the leap day is the last one, and in cycles of 400 years,
/// after which the calendar repeats.
fn civil_date(days: i64) -> (i64, i64, i64) {
    // From the first of March of the year 0 to 1970.
    let days = days + 719_468;
    let (cycle, day_of_cycle) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_cycle =
        (day_of_cycle - day_of_cycle / 1_460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    // Five months from March on have 153 days, and so have the next five.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (cycle * 400 + year_of_cycle + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SID: &str = "x1";

    fn change(change: impl FnOnce(&mut CookieOptions)) -> CookieOptions {
        let mut options = CookieOptions::default();
        change(&mut options);
        options
    }

    fn at(milliseconds: i64) -> SystemTime {
        let distance = Duration::from_millis(milliseconds.unsigned_abs());
        if milliseconds < 0 { SystemTime::UNIX_EPOCH - distance } else { SystemTime::UNIX_EPOCH + distance }
    }

    /// Each expected value is what engine.io 6.6.12 sent with the same options.
    #[test]
    fn every_attribute_is_written_as_on_node() {
        let all = CookieOptions {
            name: "n".into(),
            path: Some("/p".into()),
            http_only: true,
            same_site: Some(SameSite::None),
            max_age: Some(Duration::from_secs(1)),
            domain: Some("d.e".into()),
            expires: Some(at(1_767_323_045_678)),
            secure: true,
            partitioned: true,
            priority: Some(CookiePriority::High),
        };
        for (options, expected) in [
            (CookieOptions::default(), "io=x1; Path=/; HttpOnly; SameSite=Lax"),
            (change(|cookie| cookie.name = "n".into()), "n=x1; Path=/; HttpOnly; SameSite=Lax"),
            (change(|cookie| cookie.path = None), "io=x1; HttpOnly; SameSite=Lax"),
            (change(|cookie| cookie.path = Some(String::new())), "io=x1; HttpOnly; SameSite=Lax"),
            (
                change(|cookie| cookie.path = Some("/a b%20".into())),
                "io=x1; Path=/a b%20; HttpOnly; SameSite=Lax",
            ),
            (change(|cookie| cookie.http_only = false), "io=x1; Path=/; SameSite=Lax"),
            (change(|cookie| cookie.same_site = None), "io=x1; Path=/; HttpOnly"),
            (
                change(|cookie| cookie.same_site = Some(SameSite::Strict)),
                "io=x1; Path=/; HttpOnly; SameSite=Strict",
            ),
            (
                change(|cookie| cookie.same_site = Some(SameSite::None)),
                "io=x1; Path=/; HttpOnly; SameSite=None",
            ),
            (
                change(|cookie| cookie.max_age = Some(Duration::from_millis(1900))),
                "io=x1; Max-Age=1; Path=/; HttpOnly; SameSite=Lax",
            ),
            (
                change(|cookie| cookie.max_age = Some(Duration::ZERO)),
                "io=x1; Max-Age=0; Path=/; HttpOnly; SameSite=Lax",
            ),
            (
                change(|cookie| cookie.domain = Some(".EXAMPLE.com".into())),
                "io=x1; Domain=.EXAMPLE.com; Path=/; HttpOnly; SameSite=Lax",
            ),
            (change(|cookie| cookie.domain = Some(String::new())), "io=x1; Path=/; HttpOnly; SameSite=Lax"),
            (
                change(|cookie| cookie.expires = Some(at(1_767_323_045_678))),
                "io=x1; Path=/; Expires=Fri, 02 Jan 2026 03:04:05 GMT; HttpOnly; SameSite=Lax",
            ),
            (change(|cookie| cookie.secure = true), "io=x1; Path=/; HttpOnly; Secure; SameSite=Lax"),
            (
                change(|cookie| cookie.partitioned = true),
                "io=x1; Path=/; HttpOnly; Partitioned; SameSite=Lax",
            ),
            (
                change(|cookie| cookie.priority = Some(CookiePriority::Low)),
                "io=x1; Path=/; HttpOnly; Priority=Low; SameSite=Lax",
            ),
            (
                change(|cookie| cookie.priority = Some(CookiePriority::Medium)),
                "io=x1; Path=/; HttpOnly; Priority=Medium; SameSite=Lax",
            ),
            (
                all,
                "n=x1; Max-Age=1; Domain=d.e; Path=/p; Expires=Fri, 02 Jan 2026 03:04:05 GMT; HttpOnly; Secure; \
                 Partitioned; Priority=High; SameSite=None",
            ),
        ] {
            assert_eq!(options.validate(), Ok(()));
            assert_eq!(options.header_value(SID), expected);
        }
    }

    #[test]
    fn the_id_is_percent_encoded() {
        for (sid, expected) in [
            ("Lbo5JLzTotvW3g2LAAAA", "Lbo5JLzTotvW3g2LAAAA"),
            ("a-b_C", "a-b_C"),
            ("a b", "a%20b"),
            ("a;b=c", "a%3Bb%3Dc"),
            ("ü😀", "%C3%BC%F0%9F%98%80"),
            ("!'()*~-._", "!'()*~-._"),
            ("%20", "%2520"),
            ("a/+b", "a%2F%2Bb"),
            ("a\"\\\n", "a%22%5C%0A"),
            ("", ""),
        ] {
            let expected = format!("io={expected}; Path=/; HttpOnly; SameSite=Lax");
            assert_eq!(CookieOptions::default().header_value(sid), expected);
        }
    }

    /// What Node's package accepts and refuses.
    #[test]
    fn an_option_that_makes_no_sense_is_named() {
        let with = |option: &str, value: &str| match option {
            "cookie.name" => change(|cookie| cookie.name = value.to_owned()),
            "cookie.path" => change(|cookie| cookie.path = Some(value.to_owned())),
            _ => change(|cookie| cookie.domain = Some(value.to_owned())),
        };
        let label = "x".repeat(63);
        for (option, value, valid) in [
            ("cookie.name", "!#$%&'*+-.^_`|~09AZ", true),
            ("cookie.name", "", false),
            ("cookie.name", "a b", false),
            ("cookie.name", "a;", false),
            ("cookie.name", "a=", false),
            ("cookie.name", "a,b", false),
            ("cookie.name", "a\"b", false),
            ("cookie.name", "a(b)", false),
            ("cookie.name", "a/b", false),
            ("cookie.name", "é", false),
            ("cookie.path", "relative", true),
            ("cookie.path", "/ \"\\,:=>~", true),
            ("cookie.path", "/p;x", false),
            ("cookie.path", "/<", false),
            ("cookie.path", "/\t", false),
            ("cookie.path", "/\x7f", false),
            ("cookie.path", "/é", false),
            ("cookie.domain", "localhost", true),
            ("cookie.domain", "1.2.3.4", true),
            ("cookie.domain", "a.b-c", true),
            ("cookie.domain", &label, true),
            ("cookie.domain", &format!("{label}x"), false),
            ("cookie.domain", "exa mple.com", false),
            ("cookie.domain", "a;b", false),
            ("cookie.domain", "-a.com", false),
            ("cookie.domain", "a-.com", false),
            ("cookie.domain", "a_b.com", false),
            ("cookie.domain", "a..com", false),
            ("cookie.domain", "..a", false),
            ("cookie.domain", ".", false),
            ("cookie.domain", "example.com.", false),
            ("cookie.domain", "é.com", false),
        ] {
            let result = with(option, value).validate().map_err(|error| error.option);
            assert_eq!(result, if valid { Ok(()) } else { Err(option) }, "{option} {value:?}");
        }
    }

    #[test]
    fn dates_are_written_as_javascript_writes_them() {
        for (milliseconds, expected) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (-1, "Wed, 31 Dec 1969 23:59:59 GMT"),
            (-2_203_934_400_000, "Wed, 28 Feb 1900 12:00:00 GMT"),
            (951_868_799_000, "Tue, 29 Feb 2000 23:59:59 GMT"),
            (1_709_164_800_000, "Thu, 29 Feb 2024 00:00:00 GMT"),
            (4_107_542_400_000, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (-11_644_473_600_000, "Mon, 01 Jan 1601 00:00:00 GMT"),
            (253_402_300_799_000, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            let options = change(|cookie| cookie.expires = Some(at(milliseconds)));
            assert_eq!(options.validate(), Ok(()));
            let cookie = format!("io=x1; Path=/; Expires={expected}; HttpOnly; SameSite=Lax");
            assert_eq!(options.header_value(SID), cookie);
        }
    }

    #[test]
    fn an_expiry_that_no_browser_reads_is_refused() {
        for milliseconds in [-11_644_473_600_001, 253_402_300_800_000] {
            let options = change(|cookie| cookie.expires = Some(at(milliseconds)));
            assert_eq!(options.validate().map_err(|error| error.option), Err("cookie.expires"));
        }
    }
}
