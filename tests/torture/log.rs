//! What the subscribers got, in the order in which they decided.

use std::collections::HashMap;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use serde_json::Value;

use super::history::content;

/// Which change: the transaction and the place in it, as the source's log has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ChangeId {
    pub(super) xid: u64,
    pub(super) index: u64,
}

/// A request as it came.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) endpoint: usize,
    pub(super) id: &'a str,
    /// Whether it came behind others in one request.
    pub(super) goes_along: bool,
    pub(super) attempt: Option<u32>,
    pub(super) body: &'a Bytes,
    pub(super) hash: u64,
    pub(super) signed: Result<(), String>,
    pub(super) accepted: bool,
    /// Whether the answer must have been heard.
    pub(super) heard: bool,
}

/// A 2xx.
#[derive(Clone, Copy, Debug)]
pub(super) struct Acceptance {
    /// The order of all requests of all endpoints.
    pub(super) number: u64,
    /// The first of those that came in the same request.
    pub(super) request: u64,
    pub(super) at: Instant,
    pub(super) attempt: Option<u32>,
    pub(super) heard: bool,
}

/// Everything about one `webhook-id`.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) change: ChangeId,
    pub(super) hash: u64,
    pub(super) requests: u64,
    /// The first of them that was not just tried behind others in one request: such a one counts where all of it was accepted.
    pub(super) first_request: u64,
    /// For whoever reads the daemons' logs beside it.
    pub(super) first_at: SystemTime,
    pub(super) last_at: Instant,
    pub(super) accepted: Vec<Acceptance>,
}

/// A change as its first body told of it.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) lsn: u64,
    pub(super) content: Box<str>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Log {
    /// By endpoint and `webhook-id`.
    pub(super) seen: Vec<HashMap<Box<str>, Seen>>,
    accepted: Vec<usize>,
    pub(super) told: HashMap<ChangeId, Told>,
    /// Bodies that were read, by hash.
    known: HashMap<u64, ChangeId>,
    /// Requests so far.
    pub(super) clock: u64,
    /// The one that what goes along belongs to.
    request: u64,
    pub(super) largest_body: usize,
    pub(super) misbehaved: u64,
    /// What is wrong with a request by itself, or with its repetition.
    pub(super) wrong: Vec<String>,
}

impl Log {
    pub(super) fn new(endpoints: usize) -> Self {
        Self {
            seen: vec![HashMap::new(); endpoints],
            accepted: vec![0; endpoints],
            told: HashMap::new(),
            known: HashMap::new(),
            clock: 0,
            request: 0,
            largest_body: 0,
            misbehaved: 0,
            wrong: Vec::new(),
        }
    }

    /// How often a `webhook-id` came to an endpoint.
    pub(super) fn times_seen(&self, endpoint: usize, id: &str) -> u64 {
        self.seen[endpoint].get(id).map_or(0, |seen| seen.requests)
    }

    /// How many notifications an endpoint has accepted.
    pub(super) fn accepted(&self, endpoint: usize) -> usize {
        self.accepted[endpoint]
    }

    /// Takes down a request.
    pub(super) fn record(&mut self, request: Request<'_>) {
        let Request { endpoint, id, goes_along, attempt, body, hash, signed, accepted, heard } = request;
        self.clock += 1;
        if !goes_along {
            self.request = self.clock;
        }
        self.largest_body = self.largest_body.max(body.len());
        if let Err(error) = signed {
            self.wrong.push(format!("{id} to endpoint {endpoint} does not verify: {error}"));
        }
        let Some(change) = self.read(id, hash, body) else { return };
        let (number, at) = (self.clock, Instant::now());
        let seen = self.seen[endpoint].entry(id.into()).or_insert_with(|| Seen {
            change,
            hash,
            requests: 0,
            first_request: u64::MAX,
            first_at: SystemTime::now(),
            last_at: at,
            accepted: Vec::new(),
        });
        seen.requests += 1;
        if accepted || !goes_along {
            seen.first_request = seen.first_request.min(number);
        }
        seen.last_at = at;
        if accepted {
            self.accepted[endpoint] += usize::from(seen.accepted.is_empty());
            seen.accepted.push(Acceptance { number, request: self.request, at, attempt, heard });
        }
        if seen.hash != hash || seen.change != change {
            let before = seen.change;
            self.wrong
                .push(format!("{id} came again to endpoint {endpoint} with another body: {before:?}, {change:?}"));
        }
    }

    /// Which change a body is about.
    fn read(&mut self, id: &str, hash: u64, body: &Bytes) -> Option<ChangeId> {
        if let Some(change) = self.known.get(&hash) {
            return Some(*change);
        }
        let parsed: Option<(ChangeId, Told)> = serde_json::from_slice(body).ok().and_then(|body| told(&body));
        let Some((change, told)) = parsed else {
            self.wrong.push(format!("{id} has a body that is no notification: {}", String::from_utf8_lossy(body)));
            return None;
        };
        self.known.insert(hash, change);
        if let Some(first) = self.told.get(&change) {
            let first = &first.content;
            self.wrong.push(format!("{id}: {change:?} has two bodies: {first} and {}", told.content));
        } else {
            self.told.insert(change, told);
        }
        Some(change)
    }
}

fn told(body: &Value) -> Option<(ChangeId, Told)> {
    let source = &body["source"];
    let change = ChangeId { xid: source["xid"].as_u64()?, index: source["index"].as_u64()? };
    let lsn = parse_lsn(source["lsn"].as_str()?)?;
    let operation = match body["type"].as_str()? {
        "row.inserted" => "INSERT",
        "row.updated" => "UPDATE",
        "row.deleted" => "DELETE",
        "table.truncated" => "TRUNCATE",
        _ => return None,
    };
    let mut row = body["row"].clone();
    if let Some(row) = row.as_object_mut() {
        row.remove("data");
    }
    let content = content(operation, body["table_name"].as_str()?, &body["external_id"], &row);
    Some((change, Told { lsn, content }))
}

/// `0/16B3748`.
pub(super) fn parse_lsn(text: &str) -> Option<u64> {
    let (high, low) = text.split_once('/')?;
    Some(u64::from_str_radix(high, 16).ok()? << 32 | u64::from_str_radix(low, 16).ok()?)
}
