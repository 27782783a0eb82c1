//! The name of a job, as it stands in paths, rooms and tokens.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A job's id, known to be acceptable: [`JobId::ACCEPTED`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct JobId(Arc<str>);

/// What was given is no job id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoJobId;

impl JobId {
    pub(crate) const ACCEPTED: &str = "1 to 128 letters, digits, '.', '_', '-' or ':'";

    pub(crate) fn parse(text: &str) -> Result<JobId, NoJobId> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte);
        if !(1..=MAX_BYTES).contains(&text.len()) || !text.bytes().all(plain) {
            return Err(NoJobId);
        }
        Ok(JobId(text.into()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for NoJobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a job id; accepted: {}", JobId::ACCEPTED)
    }
}

impl Serialize for JobId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for JobId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<JobId, D::Error> {
        let text = String::deserialize(deserializer)?;
        JobId::parse(&text).map_err(serde::de::Error::custom)
    }
}

const MAX_BYTES: usize = 128; // a UUID, a path-like name or a hash with room to spare; it is kept per job and room

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_are_ids() {
        for text in
            ["1", "crawl-1", "6f1c8a6e-0b51-4d0e-9f0e-3f0f5b8f1c11", "shop:2026.01_b", &"x".repeat(128)]
        {
            assert_eq!(JobId::parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn anything_else_is_none() {
        for text in ["", "a b", "a/b", "ä", "a\n", "*", "<b>", &"x".repeat(129)] {
            assert_eq!(JobId::parse(text), Err(NoJobId), "{text:?}");
        }
    }
}
