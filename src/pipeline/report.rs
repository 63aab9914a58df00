//! Tells the service manager when the start is over, and in one line how things are.

use std::convert::Infallible;
use std::time::Duration;

use crate::admin::Readiness;
use crate::service::ServiceManager;

/// Between two status lines: each is told to everybody who listens to the service manager.
const INTERVAL: Duration = Duration::from_secs(2);

/// For as long as it is polled.
pub(super) async fn report(service: ServiceManager, readiness: Readiness) -> Infallible {
    let mut changes = readiness.changes();
    let mut said = String::new();
    loop {
        let status = readiness.summary();
        if status != said {
            service.status(&status);
            said = status;
        }
        let begun = readiness.has_begun();
        if begun {
            service.ready();
        }
        // The sender is the readiness's own.
        let _ = changes.changed().await;
        if begun {
            // What changes in the meantime is told together.
            tokio::time::sleep(INTERVAL).await;
        }
    }
}
