//! How a Postgres server is reached, for SQL and for replication alike: TLS as the URL asks, and errors with a remedy.

mod certificate;
mod connect;
mod dial;
mod error;
mod link;
mod outage;
mod pooler;
mod server_error;
mod stream;
mod tls;
mod trust;

pub(crate) use connect::{Session, open};
pub use connect::{connect, connect_listening};
pub(crate) use dial::{address, dial};
pub use error::PostgresError;
pub use link::Link;
pub use outage::Outage;
pub use pooler::refuse_pooler;
pub use server_error::ServerError;
pub(crate) use stream::Stream;
