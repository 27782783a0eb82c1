//! `Number`: a number of a `Value`.

use std::fmt;

use serde::de::{Unexpected, Visitor};
use serde::ser::{Serialize, Serializer};

/// A number. Whole numbers from text without point and exponent are exact within 64 bits; JavaScript's are within 2⁵³.
#[derive(Clone, Copy)]
pub struct Number(Repr);

#[derive(Clone, Copy)]
enum Repr {
    Unsigned(u64),
    /// Always negative.
    Signed(i64),
    Float(f64),
}

impl Number {
    /// The nearest `f64`.
    pub fn as_f64(self) -> f64 {
        match self.0 {
            Repr::Unsigned(value) => value as f64,
            Repr::Signed(value) => value as f64,
            Repr::Float(value) => value,
        }
    }

    /// The number, if it is a whole one that fits.
    pub fn as_u64(self) -> Option<u64> {
        match self.0 {
            Repr::Unsigned(value) => Some(value),
            Repr::Signed(_) => None,
            Repr::Float(value) => {
                let fits = value.fract() == 0.0 && (0.0..18_446_744_073_709_551_616.0).contains(&value);
                fits.then_some(value as u64)
            }
        }
    }

    /// The number, if it is a whole one that fits.
    pub fn as_i64(self) -> Option<i64> {
        match self.0 {
            Repr::Unsigned(value) => i64::try_from(value).ok(),
            Repr::Signed(value) => Some(value),
            Repr::Float(value) => {
                let limit = 9_223_372_036_854_775_808.0;
                (value.fract() == 0.0 && (-limit..limit).contains(&value)).then_some(value as i64)
            }
        }
    }

    pub(super) fn unexpected(self) -> Unexpected<'static> {
        match self.0 {
            Repr::Unsigned(value) => Unexpected::Unsigned(value),
            Repr::Signed(value) => Unexpected::Signed(value),
            Repr::Float(value) => Unexpected::Float(value),
        }
    }

    pub(super) fn visit<'de, V: Visitor<'de>, E: serde::de::Error>(self, visitor: V) -> Result<V::Value, E> {
        match self.0 {
            Repr::Unsigned(value) => visitor.visit_u64(value),
            Repr::Signed(value) => visitor.visit_i64(value),
            Repr::Float(value) => visitor.visit_f64(value),
        }
    }
}

/// Equal as in JavaScript, where all numbers are `f64`: `1` is `1.0`, and `98628491702945060` is `98628491702945056`.
impl PartialEq for Number {
    fn eq(&self, other: &Number) -> bool {
        self.as_f64() == other.as_f64()
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Repr::Unsigned(value) => value.fmt(f),
            Repr::Signed(value) => value.fmt(f),
            Repr::Float(value) => value.fmt(f),
        }
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Repr::Unsigned(value) => serializer.serialize_u64(value),
            Repr::Signed(value) => serializer.serialize_i64(value),
            Repr::Float(value) => serializer.serialize_f64(value),
        }
    }
}

impl From<u64> for Number {
    fn from(value: u64) -> Number {
        Number(Repr::Unsigned(value))
    }
}

impl From<i64> for Number {
    fn from(value: i64) -> Number {
        Number(u64::try_from(value).map_or(Repr::Signed(value), Repr::Unsigned))
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Number {
        Number(Repr::Float(value))
    }
}
