//! The SQL connection beside the replication connection: it notices a server that is shutting down.
//!
//! A fast shutdown ends every SQL session at once, but waits for the walsender until its client has confirmed everything. So
//! where this session is cut, and the server refuses the next one because it is shutting down, the replication connection
//! has to be dropped, whatever has been confirmed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tracing::{debug, info};

use super::SourceError;
use crate::config::PostgresUrl;
use crate::postgres::{PostgresError, Session, open, refuse_pooler};

/// Waits between two attempts to reconnect: from the first, doubled up to the second.
const RETRY_BASE: Duration = Duration::from_millis(50);
const RETRY_CAP: Duration = Duration::from_secs(5);

/// What the sentinel knows of the server.
#[derive(Clone)]
enum Sight {
    /// The session is open.
    Connected(Arc<Client>),
    /// It was cut, and is not back yet.
    Cut,
    /// The server accepts nobody any more.
    ShuttingDown,
}

/// A SQL session that is kept open for as long as the sentinel lives.
pub struct Sentinel {
    sight: watch::Receiver<Sight>,
    watcher: JoinHandle<()>,
}

impl Sentinel {
    /// Connects, and watches from then on.
    ///
    /// # Errors
    /// Where the first connection does not come about, or leads to a pooler.
    pub async fn connect(url: &PostgresUrl) -> Result<Self, SourceError> {
        let session = login(url).await?;
        refuse_pooler(&session.client, url, super::login::APPLICATION_NAME).await?;
        let (sender, sight) = watch::channel(Sight::Connected(Arc::new(session.client)));
        let watcher = tokio::spawn(watch_over(url.clone(), session.driver, sender));
        Ok(Self { sight, watcher })
    }

    /// The session, for the source's own queries; `None` while it is cut.
    #[must_use]
    pub fn client(&self) -> Option<Arc<Client>> {
        match &*self.sight.borrow() {
            Sight::Connected(client) if !client.is_closed() => Some(Arc::clone(client)),
            _ => None,
        }
    }

    /// Returns when the server is shutting down: the replication connection must be dropped at once.
    pub async fn shutting_down(&self) {
        let mut sight = self.sight.clone();
        if sight.wait_for(|sight| matches!(sight, Sight::ShuttingDown)).await.is_err() {
            // The watcher ends with the sentinel only, which is borrowed here.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

async fn login(url: &PostgresUrl) -> Result<Session, PostgresError> {
    open(url, super::login::APPLICATION_NAME, None).await
}

async fn watch_over(url: PostgresUrl, mut driver: JoinHandle<()>, sight: watch::Sender<Sight>) {
    loop {
        let _ = driver.await;
        sight.send_replace(Sight::Cut);
        let session = reconnect(&url, &sight).await;
        sight.send_replace(Sight::Connected(Arc::new(session.client)));
        driver = session.driver;
    }
}

/// The first attempt is made at once: the answer tells a shutdown from a session that somebody ended.
async fn reconnect(url: &PostgresUrl, sight: &watch::Sender<Sight>) -> Session {
    let mut wait = RETRY_BASE;
    loop {
        match login(url).await {
            Ok(session) => return session,
            Err(error) => report(&error, sight),
        }
        sleep(wait).await;
        wait = (wait * 2).min(RETRY_CAP);
    }
}

fn report(error: &PostgresError, sight: &watch::Sender<Sight>) {
    if error.sqlstate() == Some(&SqlState::CANNOT_CONNECT_NOW) {
        info!("the server refuses connections: it is shutting down, or recovering");
        sight.send_replace(Sight::ShuttingDown);
    } else {
        debug!(error = error as &dyn std::error::Error, "the sentinel cannot reconnect");
    }
}
