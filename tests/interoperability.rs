//! What we sign, other people's libraries verify. (The published Rust crate judges every request of every test.)

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::support::fixtures::upsert_charge;
use crate::support::{Received, Receiver, Site};

/// A raw secret as users type it, and one in the form of the specification.
const SECRETS: [&str; 2] = ["webhook_secret123", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="];

/// 24 zero bytes.
const ANOTHER_KEY: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

#[tokio::test]
async fn the_published_rust_library_verifies_under_the_key_that_create_printed() {
    for secret in SECRETS {
        let (request, printed) = one_notification_under(secret).await;
        assert_eq!(request.verify(&printed), Ok(()));
        assert!(request.verify(ANOTHER_KEY).is_err());
    }
}

#[tokio::test]
async fn a_library_of_another_ecosystem_verifies_and_refuses_what_was_tampered_with() {
    let verifier = verifier();
    for secret in SECRETS {
        let (request, printed) = one_notification_under(secret).await;
        let body = String::from_utf8(request.body.to_vec()).expect("UTF-8");
        let tampered = body.replace("\"ch_1\"", "\"ch_2\"");
        assert_ne!(body, tampered);
        let questions = [(printed.as_str(), &body), (&printed, &tampered), (ANOTHER_KEY, &body)];
        assert_eq!(judged(&verifier, &request, &questions).await, [true, false, false]);
    }
}

/// What scripts/install-test-tools leaves behind, in the directory `target` of the repository.
fn verifier() -> PathBuf {
    let verifier = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-tools/verify-webhook");
    assert!(verifier.is_file(), "{} is missing: run scripts/install-test-tools", verifier.display());
    verifier
}

/// One real notification, and the key that `create` printed after `Verify with:`.
async fn one_notification_under(secret: &str) -> (Arc<Received>, String) {
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
    (Arc::clone(&requests[0]), printed)
}

/// The library's verdict on this request under each of these keys and with each of these bodies.
async fn judged(verifier: &Path, request: &Received, questions: &[(&str, &String)]) -> Vec<bool> {
    let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let headers: Value = names.iter().map(|name| ((*name).to_owned(), Value::from(request.header(name)))).collect();
    let line =
        |(secret, body): &(&str, &String)| format!("{}\n", json!({"secret": secret, "headers": headers, "body": body}));
    let input: String = questions.iter().map(line).collect();
    let mut command = Command::new(verifier);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("verify-webhook runs");
    let mut stdin = child.stdin.take().expect("stdin");
    stdin.write_all(input.as_bytes()).await.expect("verify-webhook reads");
    drop(stdin);
    let output = child.wait_with_output().await.expect("verify-webhook ends");
    let answers = String::from_utf8(output.stdout).expect("UTF-8");
    let answer = |line| serde_json::from_str::<Value>(line).ok()?["ok"].as_bool();
    answers.lines().map(|line| answer(line).unwrap_or_else(|| panic!("{line}"))).collect()
}
