//! Revision: which Engine.IO a session speaks.

/// The revision of the protocol: how packets are written, and who sends the pings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Revision {
    /// Revision 3, of Socket.IO clients before 3.0: the client pings.
    V3,
    /// Revision 4, the present one: the server pings.
    V4,
}

impl Revision {
    /// The number of the revision, as in `EIO=4`.
    pub const fn as_u8(self) -> u8 {
        match self {
            Revision::V3 => 3,
            Revision::V4 => 4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_is_known_by_its_number() {
        assert_eq!((Revision::V3.as_u8(), Revision::V4.as_u8()), (3, 4));
    }
}
