//! A request that a receiver got.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use hyper::{HeaderMap, Version};
use serde_json::Value;
use standardwebhooks::Webhook;

/// One request, whole.
#[derive(Debug)]
pub(crate) struct Received {
    /// Its place among the receiver's requests, from 0.
    pub(crate) number: usize,
    /// How often this `webhook-id` has come, this time included.
    pub(crate) times_seen: usize,
    /// The connection it came on, from 0.
    pub(crate) connection: usize,
    pub(crate) at: Instant,
    pub(crate) at_wall_clock: SystemTime,
    pub(crate) version: Version,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// What the published library said of the signature when it came.
    pub(crate) verified: Result<(), String>,
}

impl Received {
    /// A header's value; empty where there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("visible ASCII"))
    }

    /// `webhook-id`.
    pub(crate) fn webhook_id(&self) -> &str {
        self.header("webhook-id")
    }

    /// `whdb-attempt`.
    pub(crate) fn attempt(&self) -> u32 {
        self.header("whdb-attempt").parse().expect("a number")
    }

    /// The body.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }

    /// `type`.
    pub(crate) fn kind(&self) -> String {
        self.json()["type"].as_str().expect("a type").to_owned()
    }

    /// `external_id`, where it is a string; else its JSON.
    pub(crate) fn external_id(&self) -> String {
        let id = self.json()["external_id"].clone();
        id.as_str().map_or_else(|| id.to_string(), str::to_owned)
    }

    /// What orders all changes: commit position and index.
    pub(crate) fn position(&self) -> (u64, u64) {
        let source = &self.json()["source"];
        let (high, low) = source["lsn"].as_str().and_then(|lsn| lsn.split_once('/')).expect("an LSN");
        let half = |digits| u64::from_str_radix(digits, 16).expect("hexadecimal digits");
        (half(high) << 32 | half(low), source["index"].as_u64().expect("an index"))
    }

    /// The answer of the published Rust library under this secret as a user typed it.
    pub(crate) fn verify(&self, secret: &str) -> Result<(), String> {
        verify(secret, &self.body, &self.headers)
    }
}

/// As a subscriber would: a secret in `whsec_` form is base64, any other is its bytes.
pub(crate) fn verify(secret: &str, body: &[u8], headers: &HeaderMap) -> Result<(), String> {
    let library = match secret.strip_prefix("whsec_") {
        Some(_) => Webhook::new(secret),
        None => Webhook::from_bytes(secret.as_bytes().to_vec()),
    };
    library.and_then(|library| library.verify(body, headers)).map_err(|error| error.to_string())
}

/// The bodies in the order of the log: what different rows bring has no order of its own.
pub(crate) fn in_order(mut requests: Vec<Arc<Received>>) -> Vec<Value> {
    requests.sort_by_key(|request| request.position());
    requests.iter().map(|request| request.json()).collect()
}
