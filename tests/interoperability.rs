//! What we sign, other people's libraries verify. (The published Rust crate judges every request of every test.)

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::support::fixtures::upsert_charge;
use crate::support::{Received, Receiver, Site};

/// A raw secret as users type it, and one in the form of the specification.
const SECRETS: [&str; 2] = ["webhook_secret123", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="];

#[tokio::test]
async fn the_published_rust_library_verifies_and_refuses_what_was_tampered_with() {
    for secret in SECRETS {
        let (request, printed) = one_notification_under(secret).await;
        assert_eq!(request.verify(&printed), Ok(()), "under the key that `create` printed");
        assert!(request.verify("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").is_err());
    }
}

#[tokio::test]
async fn the_published_javascript_library_verifies_and_refuses_what_was_tampered_with() {
    let modules = test_tools().join("node_modules");
    let library = modules.join("standardwebhooks");
    assert!(library.is_dir(), "{} is missing: run scripts/install-test-tools", library.display());
    for secret in SECRETS {
        let (request, printed) = one_notification_under(secret).await;
        let mut tampered = request.body.to_vec();
        tampered.push(b' ');
        assert_eq!(judged_by_node(&modules, &printed, &request, &request.body).await, "verified");
        assert_eq!(judged_by_node(&modules, &printed, &request, &tampered).await, "refused");
    }
}

/// Where scripts/install-test-tools puts things: beside the binary's profile directory.
fn test_tools() -> PathBuf {
    let target = Path::new(env!("CARGO_BIN_EXE_webhookdb")).ancestors().nth(2).expect("the target directory");
    target.join("test-tools")
}

/// One real notification, and the key that `create` printed after `Verify with:`.
async fn one_notification_under(secret: &str) -> (std::sync::Arc<Received>, String) {
    let site = Site::new("interoperability").await;
    let receiver = Receiver::start_with_secret(secret).await;
    let url = receiver.url("/");
    let arguments = ["notification", "create", "--integration=stripe_charge_v1", "--secret", secret, "--url", &url];
    let said = site.webhookdb.run(&arguments).await.ok();
    let printed = said.lines().find_map(|line| line.strip_prefix("Verify with: ")).expect("the key").to_owned();
    assert!(printed.starts_with("whsec_"), "{printed}");
    let _daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    let requests = receiver.wait_for(1).await;
    (requests[0].clone(), printed)
}

async fn judged_by_node(modules: &Path, secret: &str, request: &Received, body: &[u8]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/verify.cjs");
    let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let headers: serde_json::Map<_, _> =
        names.iter().map(|name| ((*name).into(), request.header(name).into())).collect();
    let input = json!({"secret": secret, "headers": headers, "body": String::from_utf8_lossy(body)}).to_string();
    let mut node = Command::new("node");
    node.arg(script).env("NODE_PATH", modules).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = node.spawn().expect("node runs: scripts/install-test-tools says what is needed");
    let mut stdin = child.stdin.take().expect("stdin");
    stdin.write_all(input.as_bytes()).await.expect("node reads");
    drop(stdin);
    let output = child.wait_with_output().await.expect("node ends");
    String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
}
