//! What the suites stand on: servers, databases, the binary, endpoints, WebhookDB's tables. See tests/README.md.
#![allow(dead_code, reason = "a harness offers more than the suites of one day use")]

pub(crate) mod cluster;
pub(crate) mod config;
pub(crate) mod daemon;
pub(crate) mod database;
pub(crate) mod edge_values;
pub(crate) mod fixtures;
pub(crate) mod interceptor;
pub(crate) mod logins;
pub(crate) mod names;
pub(crate) mod namespace;
pub(crate) mod openssl;
pub(crate) mod oracle;
pub(crate) mod pgbouncer;
pub(crate) mod pki;
pub(crate) mod prometheus;
pub(crate) mod proxy;
pub(crate) mod psql;
pub(crate) mod receiver;
pub(crate) mod reply;
pub(crate) mod request;
pub(crate) mod samples;
pub(crate) mod secured;
pub(crate) mod sink;
pub(crate) mod site;
pub(crate) mod webhookdb;

use std::time::Duration;

pub(crate) use cluster::{own_cluster, shared_cluster};
pub(crate) use config::Config;
pub(crate) use daemon::Daemon;
pub(crate) use database::TestDatabase;
pub(crate) use proxy::Proxy;
pub(crate) use receiver::Receiver;
pub(crate) use reply::Reply;
pub(crate) use request::{Received, in_order};
pub(crate) use site::Site;
pub(crate) use webhookdb::{Output, Webhookdb};

/// How long a condition may take to come true before a test fails: far more than it takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How often a condition that cannot announce itself is looked at.
pub(crate) const POLL: Duration = Duration::from_millis(20);

/// A number that a variable of the environment gives, such as the seed of a run that is to be replayed.
pub(crate) fn from_environment<T: std::str::FromStr>(name: &str) -> Option<T> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty())?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} is not a number")))
}
