//! Tokens: who holds one may watch these jobs, and may post events for those.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::jobs::JobId;

/// Issues tokens and verifies them.
pub(crate) struct Tokens {
    signing: EncodingKey,
    verifying: DecodingKey,
    validation: Validation,
}

/// What a token says of its holder.
///
/// # Example
/// ```json
/// { "sub": "wall display", "exp": 1790000000, "jobs": ["crawl-1", "crawl-2"], "publish": false }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    /// Whom it was given to; for logs.
    #[serde(default)]
    pub(crate) sub: String,
    /// Until when it is valid: seconds since 1970.
    pub(crate) exp: u64,
    /// Which jobs may be watched. A token without this claim may watch every job.
    #[serde(default = "Scope::all")]
    pub(crate) jobs: Scope,
    /// For which jobs events may be posted. A token without this claim may post for none.
    #[serde(default = "Scope::none")]
    pub(crate) publish: Scope,
}

/// A set of jobs: in a token `"*"` or `true` for all, a list of ids for those, `false` for none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    All,
    Only(BTreeSet<JobId>),
}

/// The key of the signatures. It shows itself to nobody.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(Box<[u8]>);

/// Why a token was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenRefused {
    Expired,
    Invalid,
    Missing,
    TooLong,
}

impl Tokens {
    pub(crate) fn new(secret: &Secret) -> Tokens {
        // One secret serves the three HMACs; no other algorithm, and never "none", is looked at.
        let mut validation = Validation::new(Algorithm::HS256);
        validation.algorithms = vec![Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_nbf = true;
        validation.validate_aud = false;
        Tokens {
            signing: EncodingKey::from_secret(&secret.0),
            verifying: DecodingKey::from_secret(&secret.0),
            validation,
        }
    }

    /// Signs `claims` with HS256.
    pub(crate) fn issue(&self, claims: &Claims) -> String {
        jsonwebtoken::encode(&Header::default(), claims, &self.signing)
            .expect("an HMAC takes a key of any length, and claims serialise")
    }

    pub(crate) fn verify(&self, token: &str) -> Result<Claims, TokenRefused> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenRefused::TooLong);
        }
        match jsonwebtoken::decode::<Claims>(token, &self.verifying, &self.validation) {
            Ok(data) => Ok(data.claims),
            Err(error) if *error.kind() == ErrorKind::ExpiredSignature => Err(TokenRefused::Expired),
            Err(_) => Err(TokenRefused::Invalid),
        }
    }
}

impl Claims {
    pub(crate) fn new(subject: &str, lifetime: Duration, jobs: Scope, publish: Scope) -> Claims {
        Claims { sub: subject.to_owned(), exp: now_seconds() + lifetime.as_secs(), jobs, publish }
    }

    /// Whether the holder of a connection opened with this token has to leave `now`, in seconds since 1970.
    pub(crate) fn has_expired(&self, now: u64) -> bool {
        now > self.exp.saturating_add(LEEWAY_SECONDS)
    }
}

impl Scope {
    pub(crate) fn all() -> Scope {
        Scope::All
    }

    pub(crate) fn none() -> Scope {
        Scope::Only(BTreeSet::new())
    }

    pub(crate) fn allows(&self, id: &JobId) -> bool {
        match self {
            Scope::All => true,
            Scope::Only(ids) => ids.contains(id),
        }
    }
}

impl Secret {
    /// The secret, if it is long enough.
    pub(crate) fn new(bytes: &[u8]) -> Option<Secret> {
        (bytes.len() >= MIN_SECRET_BYTES).then(|| Secret(bytes.into()))
    }

    /// A secret that nobody knows, and that is gone with the process.
    ///
    /// # Errors
    /// What the operating system says when it has no randomness.
    pub(crate) fn random() -> Result<Secret, getrandom::Error> {
        let mut bytes = [0; MIN_SECRET_BYTES];
        getrandom::fill(&mut bytes)?;
        Ok(Secret(bytes.into()))
    }
}

impl Serialize for Scope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Scope::All => serializer.serialize_str("*"),
            Scope::Only(ids) => serializer.collect_seq(ids),
        }
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Scope, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            All(bool),
            Star(String),
            Only(BTreeSet<JobId>),
        }
        match Form::deserialize(deserializer)? {
            Form::All(true) => Ok(Scope::All),
            Form::All(false) => Ok(Scope::none()),
            Form::Star(text) if text == "*" => Ok(Scope::All),
            Form::Star(_) => Err(serde::de::Error::custom("accepted: \"*\" or a list of job ids")),
            Form::Only(ids) => Ok(Scope::Only(ids)),
        }
    }
}

impl fmt::Display for TokenRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TokenRefused::Expired => "the token has expired",
            TokenRefused::Invalid => "the token is not valid",
            TokenRefused::Missing => "a token is missing",
            TokenRefused::TooLong => "the token is too long",
        })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens(…)")
    }
}

/// Seconds since 1970.
pub(crate) fn now_seconds() -> u64 {
    jsonwebtoken::get_current_timestamp()
}

/// The longest token that is accepted: it names some thousand jobs. A larger one would not fit into what a client may
/// send at once.
pub(crate) const MAX_TOKEN_BYTES: usize = 64 << 10;

/// "A key of the same size as the hash output (for instance, 256 bits for "HS256") or larger MUST be used with
/// this algorithm." (RFC 7518, 3.2)
const MIN_SECRET_BYTES: usize = 32;

/// How far the clocks of those who issue tokens may be behind ours.
const LEEWAY_SECONDS: u64 = 30;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn tokens() -> Tokens {
        Tokens::new(&Secret::new(&[7; 32]).unwrap())
    }

    fn signed(algorithm: Algorithm, claims: &Value) -> String {
        let key = EncodingKey::from_secret(&[7; 32]);
        jsonwebtoken::encode(&Header::new(algorithm), claims, &key).unwrap()
    }

    fn verify(claims: &Value) -> Result<Claims, TokenRefused> {
        tokens().verify(&signed(Algorithm::HS256, claims))
    }

    fn soon() -> u64 {
        now_seconds() + 60
    }

    fn id(text: &str) -> JobId {
        JobId::parse(text).unwrap()
    }

    #[test]
    fn an_issued_token_is_verified() {
        let scope = Scope::Only(BTreeSet::from([id("a"), id("b")]));
        let claims = Claims::new("me", Duration::from_secs(60), scope, Scope::All);
        assert_eq!(tokens().verify(&tokens().issue(&claims)), Ok(claims));
    }

    #[test]
    fn without_scopes_a_token_watches_all_and_publishes_nothing() {
        let claims = verify(&json!({ "sub": "x", "exp": soon() })).unwrap();
        assert!(claims.jobs.allows(&id("any")));
        assert!(!claims.publish.allows(&id("any")));
    }

    #[test]
    fn scopes_are_true_a_star_or_a_list() {
        let claims = verify(&json!({ "exp": soon(), "jobs": ["a"], "publish": true })).unwrap();
        assert!(claims.jobs.allows(&id("a")) && !claims.jobs.allows(&id("b")));
        assert_eq!(claims.publish, Scope::All);
        let claims = verify(&json!({ "exp": soon(), "jobs": "*", "publish": ["a"] })).unwrap();
        assert_eq!(claims.jobs, Scope::All);
        assert!(claims.publish.allows(&id("a")) && !claims.publish.allows(&id("b")));
        for wrong in [json!("a"), json!(1), json!(["a b"]), json!({})] {
            assert_eq!(
                verify(&json!({ "exp": soon(), "jobs": wrong })),
                Err(TokenRefused::Invalid),
                "{wrong}"
            );
        }
    }

    #[test]
    fn the_three_hmacs_are_accepted() {
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            assert!(tokens().verify(&signed(algorithm, &json!({ "exp": soon() }))).is_ok());
        }
    }

    #[test]
    fn an_expired_token_is_refused_after_some_leeway() {
        let ended = |seconds: u64| verify(&json!({ "exp": now_seconds() - seconds }));
        assert!(ended(LEEWAY_SECONDS - 10).is_ok());
        assert_eq!(ended(LEEWAY_SECONDS + 10), Err(TokenRefused::Expired));
        let claims = |exp| Claims { sub: String::new(), exp, jobs: Scope::All, publish: Scope::All };
        assert!(claims(100).has_expired(100 + LEEWAY_SECONDS + 1));
        assert!(!claims(100).has_expired(100 + LEEWAY_SECONDS));
        assert!(!claims(u64::MAX).has_expired(u64::MAX));
    }

    #[test]
    fn everything_else_is_refused() {
        let other = Tokens::new(&Secret::new(&[8; 32]).unwrap());
        let foreign = other.issue(&Claims::new("x", Duration::from_secs(60), Scope::All, Scope::All));
        // {"alg":"none","typ":"JWT"}.{"sub":"x","exp":9999999999}.
        let unsigned = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiJ4IiwiZXhwIjo5OTk5OTk5OTk5fQ.";
        let endless = signed(Algorithm::HS256, &json!({ "sub": "x" }));
        let early = signed(Algorithm::HS256, &json!({ "exp": soon(), "nbf": now_seconds() + 50_000 }));
        for token in ["", "x", "a.b.c", unsigned, &foreign, &endless, &early] {
            assert_eq!(tokens().verify(token), Err(TokenRefused::Invalid), "{token}");
        }
    }

    #[test]
    fn a_token_has_a_greatest_length() {
        let of = |length: usize| {
            let claims = Claims::new(&"x".repeat(length), Duration::from_secs(60), Scope::All, Scope::All);
            let token = tokens().issue(&claims);
            (token.len(), tokens().verify(&token).map(drop))
        };
        let (length, verified) = of(48_000);
        assert!(length <= MAX_TOKEN_BYTES && verified.is_ok(), "{length}: {verified:?}");
        let (length, verified) = of(50_000);
        assert!(length > MAX_TOKEN_BYTES && verified == Err(TokenRefused::TooLong), "{length}: {verified:?}");
    }

    #[test]
    fn a_secret_is_long_random_and_not_shown() {
        assert_eq!(Secret::new(&[1; 31]), None);
        assert_ne!(Secret::random().unwrap(), Secret::random().unwrap());
        assert_eq!(format!("{:?} {:?}", Secret::random().unwrap(), tokens()), "Secret(…) Tokens(…)");
    }
}
