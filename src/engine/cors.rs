//! Cors: which pages of other origins may read the answers, as Node's `cors` package has it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, CONTENT_LENGTH, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use regex_lite::Regex;

use super::ConfigError;
use super::hooks::contain;

/// Cross-origin resource sharing, under the names of Node's `cors` option.
///
/// It only adds headers, on which browsers decide: no request is refused because of its origin, and WebSockets are
/// open to every page anyway. Without it pages of other origins cannot use polling.
///
/// # Example: two origins, with cookies
/// ```
/// use ferrio::engine::{Cors, CorsOrigin};
///
/// let cors = Cors::new(CorsOrigin::list(["https://example.com", "https://www.example.com"])).credentials(true);
/// ```
#[derive(Clone, Debug)]
pub struct Cors {
    origin: CorsOrigin,
    methods: Vec<Method>,
    allowed_headers: Option<Vec<String>>,
    exposed_headers: Vec<String>,
    credentials: bool,
    max_age: Option<Duration>,
    preflight_continue: bool,
    options_success_status: StatusCode,
}

impl Default for Cors {
    /// Any origin, no credentials; what Node's `cors: true` means.
    fn default() -> Cors {
        Cors::new(CorsOrigin::any())
    }
}

impl Cors {
    /// Allows these origins, and leaves all other options as they are on Node.
    pub fn new(origin: impl Into<CorsOrigin>) -> Cors {
        Cors {
            origin: origin.into(),
            methods: vec![
                Method::GET,
                Method::HEAD,
                Method::PUT,
                Method::PATCH,
                Method::POST,
                Method::DELETE,
            ],
            allowed_headers: None,
            exposed_headers: Vec::new(),
            credentials: false,
            max_age: None,
            preflight_continue: false,
            options_success_status: StatusCode::NO_CONTENT,
        }
    }

    /// Methods that pages may use. Default GET, HEAD, PUT, PATCH, POST and DELETE; Engine.IO itself needs GET and
    /// POST. With none, the header is left out.
    pub fn methods(mut self, methods: impl IntoIterator<Item = Method>) -> Cors {
        self.methods = methods.into_iter().collect();
        self
    }

    /// Request headers that pages may send. Default: those that they ask for. With none, the header is left out.
    pub fn allowed_headers<T: Into<String>>(mut self, names: impl IntoIterator<Item = T>) -> Cors {
        self.allowed_headers = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Response headers that pages may read besides those that they always may. Default none.
    pub fn exposed_headers<T: Into<String>>(mut self, names: impl IntoIterator<Item = T>) -> Cors {
        self.exposed_headers = names.into_iter().map(Into::into).collect();
        self
    }

    /// Whether requests may carry cookies and the like (the client's `withCredentials`). Default false. As on Node it
    /// can be combined with [`CorsOrigin::any`], but browsers refuse that.
    pub fn credentials(mut self, credentials: bool) -> Cors {
        self.credentials = credentials;
        self
    }

    /// How long browsers may remember the answer to a preflight, in whole seconds. Default none: what the browser
    /// thinks right (5 s).
    pub fn max_age(mut self, max_age: Duration) -> Cors {
        self.max_age = Some(max_age);
        self
    }

    /// Whether a preflight (every OPTIONS request) goes on to what would handle it without CORS, here a refusal with
    /// 400. Default false: it is answered. As on Node; of use where something before Engine.IO answers them.
    pub fn preflight_continue(mut self, preflight_continue: bool) -> Cors {
        self.preflight_continue = preflight_continue;
        self
    }

    /// The status of the answer to a preflight. Default 204. 200 for browsers so old that they choke on 204.
    pub fn options_success_status(mut self, status: StatusCode) -> Cors {
        self.options_success_status = status;
        self
    }

    /// Checks every option.
    ///
    /// # Errors
    /// The first option whose value makes no sense, with what would.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if let Rule::Exact(origin) = &self.origin.rule
            && HeaderValue::from_str(origin).is_err()
        {
            return Err(ConfigError {
                option: "cors.origin",
                value: format!("{origin:?}"),
                accepted: "an origin, as browsers send it",
            });
        }
        let allowed = self.allowed_headers.as_deref().unwrap_or_default();
        for (option, names) in
            [("cors.allowed_headers", allowed), ("cors.exposed_headers", &*self.exposed_headers)]
        {
            if let Some(name) = names.iter().find(|name| HeaderName::try_from(name.as_str()).is_err()) {
                let accepted = "names of headers";
                return Err(ConfigError { option, value: format!("{name:?}"), accepted });
            }
        }
        if self.options_success_status.is_informational() {
            return Err(ConfigError {
                option: "cors.options_success_status",
                value: self.options_success_status.as_u16().to_string(),
                accepted: "a final status, from 200 on",
            });
        }
        Ok(())
    }

    /// The headers to add to the answer to any request but a preflight, WebSocket handshakes included.
    pub(crate) fn actual(&self, request: &HeaderMap) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if self.write_origin(request, &mut headers) {
            self.write_exposed_headers(&mut headers);
        }
        headers
    }

    /// The answer to an OPTIONS request.
    pub(crate) fn preflight(&self, request: &HeaderMap) -> Preflight {
        let mut headers = HeaderMap::new();
        if !self.write_origin(request, &mut headers) {
            return Preflight { headers, status: None };
        }
        write_list(ACCESS_CONTROL_ALLOW_METHODS, &self.methods, &mut headers);
        match &self.allowed_headers {
            Some(names) => write_list(ACCESS_CONTROL_ALLOW_HEADERS, names, &mut headers),
            None => {
                let vary = match headers.get(VARY) {
                    Some(_) => "Origin, Access-Control-Request-Headers",
                    None => "Access-Control-Request-Headers",
                };
                headers.insert(VARY, HeaderValue::from_static(vary));
                if let Some(names) = value_of(request, &ACCESS_CONTROL_REQUEST_HEADERS) {
                    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names);
                }
            }
        }
        if let Some(max_age) = self.max_age {
            headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(max_age.as_secs()));
        }
        self.write_exposed_headers(&mut headers);
        if self.preflight_continue {
            return Preflight { headers, status: None };
        }
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        Preflight { headers, status: Some(self.options_success_status) }
    }

    /// Writes who may read the answer; false: CORS does not concern itself with this request.
    fn write_origin(&self, request: &HeaderMap, headers: &mut HeaderMap) -> bool {
        match self.origin.judge(value_of(request, &ORIGIN)) {
            Verdict::Any => {
                headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            }
            Verdict::Only(origin) => {
                if let Some(origin) = origin {
                    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
                }
                headers.insert(VARY, HeaderValue::from_static("Origin"));
            }
            Verdict::Unconcerned => return false,
        }
        if self.credentials {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        true
    }

    fn write_exposed_headers(&self, headers: &mut HeaderMap) {
        write_list(ACCESS_CONTROL_EXPOSE_HEADERS, &self.exposed_headers, headers);
    }
}

/// What becomes of an OPTIONS request.
#[derive(Debug)]
pub(crate) struct Preflight {
    /// What the answer has to carry, whoever gives it.
    pub(crate) headers: HeaderMap,
    /// It is answered with this status and no body. None: it goes on like any other request.
    pub(crate) status: Option<StatusCode>,
}

/// Which origins Node's `cors.origin` allows.
#[derive(Clone, Debug)]
pub struct CorsOrigin {
    rule: Rule,
}

#[derive(Clone)]
enum Rule {
    Any,
    Disabled,
    Exact(String),
    List(Vec<OriginMatcher>),
    Predicate(Arc<dyn Fn(&str) -> bool + Send + Sync>),
    Reflect,
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::Any => f.write_str("Any"),
            Rule::Disabled => f.write_str("Disabled"),
            Rule::Exact(origin) => f.debug_tuple("Exact").field(origin).finish(),
            Rule::List(matchers) => f.debug_tuple("List").field(matchers).finish(),
            Rule::Predicate(_) => f.write_str("Predicate"),
            Rule::Reflect => f.write_str("Reflect"),
        }
    }
}

impl CorsOrigin {
    /// Every origin, with `*` (Node: `"*"`). Browsers do not accept it together with [`Cors::credentials`].
    pub fn any() -> CorsOrigin {
        CorsOrigin { rule: Rule::Any }
    }

    /// No CORS at all, as if the option had not been set (Node: `false`).
    pub fn disabled() -> CorsOrigin {
        CorsOrigin { rule: Rule::Disabled }
    }

    /// This origin, which every answer then names, whoever asks (Node: a string). As on Node, `*` is any, and empty
    /// text disables CORS.
    pub fn exact(origin: impl Into<String>) -> CorsOrigin {
        let origin = origin.into();
        let rule = match &*origin {
            "*" => Rule::Any,
            "" => Rule::Disabled,
            _ => Rule::Exact(origin),
        };
        CorsOrigin { rule }
    }

    /// Each of these origins: texts, which have to be equal, or patterns (Node: an array).
    pub fn list<T: Into<OriginMatcher>>(origins: impl IntoIterator<Item = T>) -> CorsOrigin {
        CorsOrigin { rule: Rule::List(origins.into_iter().map(Into::into).collect()) }
    }

    /// The origins in which this pattern is found (Node: a regular expression); see [`OriginMatcher::pattern`].
    ///
    /// # Errors
    /// An invalid pattern.
    pub fn pattern(pattern: &str) -> Result<CorsOrigin, ConfigError> {
        Ok(CorsOrigin::list([OriginMatcher::pattern(pattern)?]))
    }

    /// The origins for which `predicate` is true (Node: a function). It is called for each request, and must not
    /// block; a request without an `Origin` is asked about as `""`.
    ///
    /// As on Node, false means that the request is treated as if there were no CORS: its answer has no `Vary`, and its
    /// preflight is refused. A list or a pattern is kinder to caches.
    pub fn predicate(predicate: impl Fn(&str) -> bool + Send + Sync + 'static) -> CorsOrigin {
        CorsOrigin { rule: Rule::Predicate(Arc::new(predicate)) }
    }

    /// Every origin, each by its name (Node: `true`). With [`Cors::credentials`], any page can act as its visitor:
    /// only where nothing depends on cookies.
    pub fn reflect() -> CorsOrigin {
        CorsOrigin { rule: Rule::Reflect }
    }

    fn judge(&self, origin: Option<HeaderValue>) -> Verdict {
        let text = String::from_utf8_lossy(origin.as_ref().map_or(&[], HeaderValue::as_bytes));
        match &self.rule {
            Rule::Any => Verdict::Any,
            Rule::Disabled => Verdict::Unconcerned,
            Rule::Exact(origin) => Verdict::Only(HeaderValue::from_str(origin).ok()),
            Rule::List(matchers) => {
                let allowed = matchers.iter().any(|matcher| matcher.is_match(&text));
                Verdict::Only(origin.filter(|_| allowed))
            }
            Rule::Predicate(predicate)
                if contain("the predicate of cors.origin", || predicate(&text)) == Some(true) =>
            {
                Verdict::Only(origin)
            }
            Rule::Predicate(_) => Verdict::Unconcerned,
            Rule::Reflect => Verdict::Only(origin),
        }
    }
}

impl From<&str> for CorsOrigin {
    fn from(origin: &str) -> CorsOrigin {
        CorsOrigin::exact(origin)
    }
}

impl From<String> for CorsOrigin {
    fn from(origin: String) -> CorsOrigin {
        CorsOrigin::exact(origin)
    }
}

enum Verdict {
    Any,
    /// The answer depends on who asks; None: they may not read it.
    Only(Option<HeaderValue>),
    Unconcerned,
}

/// One entry of [`CorsOrigin::list`].
#[derive(Clone, Debug)]
pub struct OriginMatcher {
    kind: MatcherKind,
}

#[derive(Clone, Debug)]
enum MatcherKind {
    Exact(String),
    Pattern(Regex),
}

impl OriginMatcher {
    /// An origin in which a regular expression is found, anywhere unless `^` and `$` say where. It has no
    /// look-around and no back-references, and takes time in proportion to the origin's length, whatever that is;
    /// `(?i)` ignores case.
    ///
    /// Mind the ends and the dots: `example\.com$` is found in `https://evil-example.com`, too.
    ///
    /// # Errors
    /// An invalid pattern.
    pub fn pattern(pattern: &str) -> Result<OriginMatcher, ConfigError> {
        match Regex::new(pattern) {
            Ok(regex) => Ok(OriginMatcher { kind: MatcherKind::Pattern(regex) }),
            Err(error) => Err(ConfigError {
                option: "cors.origin",
                value: format!("{pattern:?} ({error})"),
                accepted: "a regular expression without look-around and back-references",
            }),
        }
    }

    fn is_match(&self, origin: &str) -> bool {
        match &self.kind {
            MatcherKind::Exact(exact) => exact == origin,
            MatcherKind::Pattern(regex) => regex.is_match(origin),
        }
    }
}

impl From<&str> for OriginMatcher {
    fn from(origin: &str) -> OriginMatcher {
        OriginMatcher::from(origin.to_owned())
    }
}

impl From<String> for OriginMatcher {
    fn from(origin: String) -> OriginMatcher {
        OriginMatcher { kind: MatcherKind::Exact(origin) }
    }
}

/// A request header, its several values joined as Node joins them; None if there is nothing in it.
fn value_of(request: &HeaderMap, name: &HeaderName) -> Option<HeaderValue> {
    let mut values = request.get_all(name).iter();
    let first = values.next()?.clone();
    let value = match values.next() {
        None => first,
        Some(_) => {
            let values: Vec<&[u8]> = request.get_all(name).iter().map(HeaderValue::as_bytes).collect();
            HeaderValue::from_bytes(&values.join(&b", "[..])).ok()?
        }
    };
    (!value.is_empty()).then_some(value)
}

/// Writes a header that is a list; nothing for none.
fn write_list<T: AsRef<str>>(name: HeaderName, list: &[T], headers: &mut HeaderMap) {
    let joined = list.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join(",");
    if joined.is_empty() {
        return;
    }
    // Names of methods and headers, which validate has checked.
    if let Ok(value) = HeaderValue::try_from(joined) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: [(&str, &str); 3] = [
        ("origin", "http://a.com"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type, x-a"),
    ];
    const METHODS: &str = "access-control-allow-methods: GET,HEAD,PUT,PATCH,POST,DELETE";

    fn request(headers: &[(&'static str, &str)]) -> HeaderMap {
        let mut request = HeaderMap::new();
        for (name, value) in headers {
            request.append(*name, HeaderValue::from_str(value).unwrap());
        }
        request
    }

    /// The headers in the order they are sent.
    fn lines(headers: &HeaderMap) -> Vec<String> {
        headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
            .collect()
    }

    fn actual(cors: &Cors, headers: &[(&'static str, &str)]) -> Vec<String> {
        cors.validate().unwrap();
        lines(&cors.actual(&request(headers)))
    }

    /// The status and the headers of the answer to a preflight.
    fn preflight(cors: &Cors, headers: &[(&'static str, &str)]) -> (Option<u16>, Vec<String>) {
        cors.validate().unwrap();
        let preflight = cors.preflight(&request(headers));
        (preflight.status.map(|status| status.as_u16()), lines(&preflight.headers))
    }

    fn pattern(pattern: &str) -> CorsOrigin {
        CorsOrigin::pattern(pattern).unwrap()
    }

    /// Expected values here and below are what engine.io 6.6.12 sent, in its order.
    #[test]
    fn the_origin_is_judged_as_on_node() {
        const STAR: &[&str] = &["access-control-allow-origin: *"];
        const NAMED: &[&str] = &["access-control-allow-origin: http://a.com", "vary: Origin"];
        const OTHER: &[&str] = &["access-control-allow-origin: http://b.com", "vary: Origin"];
        const HIDDEN: &[&str] = &["vary: Origin"];
        let mixed =
            [OriginMatcher::from("http://b.com"), OriginMatcher::pattern(r"^http://a\.com$").unwrap()];
        for (origin, asked, unasked) in [
            (CorsOrigin::any(), STAR, STAR),
            (CorsOrigin::from("*"), STAR, STAR),
            (CorsOrigin::disabled(), &[], &[]),
            (CorsOrigin::from(""), &[], &[]),
            (CorsOrigin::reflect(), NAMED, HIDDEN),
            (CorsOrigin::from("http://a.com"), NAMED, NAMED),
            (CorsOrigin::from("http://b.com"), OTHER, OTHER),
            (CorsOrigin::list(["http://a.com", "http://b.com"]), NAMED, HIDDEN),
            (CorsOrigin::list(["http://b.com"]), HIDDEN, HIDDEN),
            (CorsOrigin::list(["http://A.com"]), HIDDEN, HIDDEN),
            (CorsOrigin::list(["*"]), HIDDEN, HIDDEN),
            (CorsOrigin::list([""; 0]), HIDDEN, HIDDEN),
            (CorsOrigin::list(mixed), NAMED, HIDDEN),
            (pattern(r"a\.com$"), NAMED, HIDDEN),
            (pattern(r"A\.com$"), HIDDEN, HIDDEN),
            (pattern(r"(?i)A\.com$"), NAMED, HIDDEN),
            (pattern("^http://a"), NAMED, HIDDEN),
            (pattern("^$"), HIDDEN, HIDDEN),
            (CorsOrigin::predicate(|_| true), NAMED, HIDDEN),
            (CorsOrigin::predicate(|origin| origin == "http://a.com"), NAMED, &[]),
            (CorsOrigin::predicate(|_| false), &[], &[]),
        ] {
            let cors = Cors::new(origin);
            assert_eq!(actual(&cors, &ASKED), asked, "{cors:?}");
            assert_eq!(actual(&cors, &[]), unasked, "{cors:?}");
            assert_eq!(actual(&cors, &[("origin", "")]), unasked, "{cors:?}");

            // A preflight judges the same.
            let (status, headers) = preflight(&cors, &ASKED);
            let judged = |line: &&String| line.starts_with("access-control-allow-origin");
            assert_eq!(status, if asked.is_empty() { None } else { Some(204) }, "{cors:?}");
            assert_eq!(
                headers.iter().find(judged).map(String::as_str),
                asked.first().copied().filter(|line| line.starts_with("access"))
            );
        }
    }

    #[test]
    fn an_odd_origin_is_reflected_as_it_is() {
        let reflect = Cors::new(CorsOrigin::reflect());
        for (origins, expected) in [
            (&["null"][..], "access-control-allow-origin: null"),
            (&["http://a\t.com"], "access-control-allow-origin: http://a\t.com"),
            (&["http://a", "http://b"], "access-control-allow-origin: http://a, http://b"),
        ] {
            let headers: Vec<_> = origins.iter().map(|&origin| ("origin", origin)).collect();
            assert_eq!(actual(&reflect, &headers), [expected, "vary: Origin"]);
        }
        let mut request = HeaderMap::new();
        request.insert(ORIGIN, HeaderValue::from_bytes(b"http://\xe9.com").unwrap());
        assert_eq!(reflect.actual(&request)[ACCESS_CONTROL_ALLOW_ORIGIN], &b"http://\xe9.com"[..]);
    }

    #[test]
    fn a_preflight_is_answered() {
        let any = Cors::default();
        let reflect = Cors::new(CorsOrigin::reflect());
        for (cors, asked, expected) in [
            (
                &any,
                &ASKED[..],
                &[
                    "access-control-allow-origin: *",
                    METHODS,
                    "vary: Access-Control-Request-Headers",
                    "access-control-allow-headers: content-type, x-a",
                    "content-length: 0",
                ][..],
            ),
            (
                &any,
                &[],
                &[
                    "access-control-allow-origin: *",
                    METHODS,
                    "vary: Access-Control-Request-Headers",
                    "content-length: 0",
                ],
            ),
            (
                &reflect,
                &ASKED,
                &[
                    "access-control-allow-origin: http://a.com",
                    "vary: Origin, Access-Control-Request-Headers",
                    METHODS,
                    "access-control-allow-headers: content-type, x-a",
                    "content-length: 0",
                ],
            ),
            (&reflect, &[], &["vary: Origin, Access-Control-Request-Headers", METHODS, "content-length: 0"]),
            (
                &reflect,
                &[
                    ("origin", "http://a"),
                    ("access-control-request-headers", "a"),
                    ("access-control-request-headers", "b"),
                ],
                &[
                    "access-control-allow-origin: http://a",
                    "vary: Origin, Access-Control-Request-Headers",
                    METHODS,
                    "access-control-allow-headers: a, b",
                    "content-length: 0",
                ],
            ),
            (
                &reflect,
                &[("origin", "http://a"), ("access-control-request-headers", "")],
                &[
                    "access-control-allow-origin: http://a",
                    "vary: Origin, Access-Control-Request-Headers",
                    METHODS,
                    "content-length: 0",
                ],
            ),
        ] {
            let (status, headers) = preflight(cors, asked);
            assert_eq!(status, Some(204));
            assert_eq!(headers, expected);
        }
    }

    #[test]
    fn every_option_has_its_header() {
        let all = Cors::new(CorsOrigin::reflect())
            .methods([Method::GET, Method::POST])
            .allowed_headers(["x-h"])
            .exposed_headers(["x-e"])
            .credentials(true)
            .max_age(Duration::from_millis(5900));
        assert_eq!(
            preflight(&all, &ASKED),
            (
                Some(204),
                vec![
                    "access-control-allow-origin: http://a.com".to_owned(),
                    "vary: Origin".to_owned(),
                    "access-control-allow-credentials: true".to_owned(),
                    "access-control-allow-methods: GET,POST".to_owned(),
                    "access-control-allow-headers: x-h".to_owned(),
                    "access-control-max-age: 5".to_owned(),
                    "access-control-expose-headers: x-e".to_owned(),
                    "content-length: 0".to_owned(),
                ]
            )
        );
        assert_eq!(
            actual(&all, &ASKED),
            [
                "access-control-allow-origin: http://a.com",
                "vary: Origin",
                "access-control-allow-credentials: true",
                "access-control-expose-headers: x-e",
            ]
        );
        // Browsers refuse this one; Node sends it.
        assert_eq!(
            actual(&Cors::default().credentials(true), &ASKED),
            ["access-control-allow-origin: *", "access-control-allow-credentials: true"]
        );
    }

    #[test]
    fn an_option_shows_in_the_preflight_alone() {
        const VARY: &str = "vary: Access-Control-Request-Headers";
        const STAR: &str = "access-control-allow-origin: *";
        const ECHO: &str = "access-control-allow-headers: content-type, x-a";
        const EMPTY: &str = "content-length: 0";
        for (cors, expected) in [
            (Cors::default().methods([]), &[STAR, VARY, ECHO, EMPTY][..]),
            (
                Cors::default().allowed_headers(["X-A", "b"]),
                &[STAR, METHODS, "access-control-allow-headers: X-A,b", EMPTY],
            ),
            (Cors::default().allowed_headers([""; 0]), &[STAR, METHODS, EMPTY]),
            (
                Cors::default().max_age(Duration::ZERO),
                &[STAR, METHODS, VARY, ECHO, "access-control-max-age: 0", EMPTY],
            ),
            (Cors::default().exposed_headers([""; 0]), &[STAR, METHODS, VARY, ECHO, EMPTY]),
        ] {
            let (status, headers) = preflight(&cors, &ASKED);
            assert_eq!(status, Some(204));
            assert_eq!(headers, expected);
            assert_eq!(actual(&cors, &ASKED), [STAR]);
        }
    }

    #[test]
    fn a_preflight_may_go_on_or_have_another_status() {
        let on = Cors::new(CorsOrigin::reflect()).preflight_continue(true).credentials(true);
        let (status, headers) = preflight(&on.exposed_headers(["x"]), &ASKED);
        assert_eq!(status, None);
        assert_eq!(
            headers,
            [
                "access-control-allow-origin: http://a.com",
                "vary: Origin, Access-Control-Request-Headers",
                "access-control-allow-credentials: true",
                METHODS,
                "access-control-allow-headers: content-type, x-a",
                "access-control-expose-headers: x",
            ]
        );
        let (status, headers) = preflight(&Cors::default().options_success_status(StatusCode::OK), &ASKED);
        assert_eq!(status, Some(200));
        assert!(headers.contains(&"content-length: 0".to_owned()));
        let off = Cors::new(CorsOrigin::disabled()).credentials(true);
        assert_eq!(preflight(&off, &ASKED), (None, vec![]));
    }

    #[test]
    fn an_option_that_makes_no_sense_is_named() {
        let named = |cors: Cors| cors.validate().map_err(|error| error.option);
        assert_eq!(named(Cors::new("http://a\n")), Err("cors.origin"));
        assert_eq!(named(Cors::default().allowed_headers(["a b"])), Err("cors.allowed_headers"));
        assert_eq!(named(Cors::default().exposed_headers([""])), Err("cors.exposed_headers"));
        assert_eq!(named(Cors::default().exposed_headers(["*"])), Ok(()));
        let status = Cors::default().options_success_status(StatusCode::PROCESSING);
        assert_eq!(named(status), Err("cors.options_success_status"));
        let error = CorsOrigin::pattern("a(").unwrap_err();
        assert_eq!(error.option, "cors.origin");
        assert!(error.value.starts_with("\"a(\" ("), "{error}");
    }
}
