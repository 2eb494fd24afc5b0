//! How values are written that have no form of their own for that: those of other crates, and bytes
//! that are shared.

use std::sync::Arc;

use lb_common::{Forward, HashAlgorithm, Udp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize, Deserialize)]
#[serde(remote = "Forward", rename_all = "lowercase")]
pub(super) enum ForwardWord {
    L2,
    Ipip,
    Gue,
    Nat,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "HashAlgorithm", rename_all = "lowercase")]
pub(super) enum HashWord {
    Multilinear,
    SipHash,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Udp", rename_all = "lowercase")]
pub(super) enum UdpWord {
    Rehash,
    Sticky,
    Quic,
}

/// Bytes that may be missing.
pub(super) mod bytes {
    use super::{Arc, Deserialize, Deserializer, Serialize, Serializer};

    pub(in crate::config) fn serialize<S: Serializer>(
        bytes: &Option<Arc<[u8]>>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        bytes.as_deref().serialize(to)
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Arc<[u8]>>, D::Error> {
        Ok(Option::<Vec<u8>>::deserialize(from)?.map(Arc::from))
    }
}
