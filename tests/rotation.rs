//! A secret is replaced: both sign during the grace, the new one alone after it, and nobody is ever told either of them again.

use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use crate::support::fixtures::upsert_charge;
use crate::support::receiver::SECRET;
use crate::support::{PATIENCE, POLL, Received, Receiver, Reply, Site};

/// Rotates; returns the new secret and all that was answered.
async fn rotate(site: &Site, id: &str, grace: &str) -> (String, String) {
    let answer = site.webhookdb.run(&["notification", "rotate", id, "--grace", grace]).await.ok();
    let secret = answer.lines().find_map(|line| line.strip_prefix("Verify with: ")).expect("the secret is shown");
    assert!(secret.starts_with("whsec_"), "{answer}");
    (secret.to_owned(), answer)
}

/// The first request that tells of this row, whoever signed it; waits for it.
async fn arrival(receiver: &Receiver, external_id: &str) -> Arc<Received> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = receiver.received().into_iter().find(|request| request.external_id() == external_id);
        if let Some(request) = found {
            return request;
        }
        assert!(Instant::now() < deadline, "{external_id} did not arrive");
        tokio::time::sleep(POLL).await;
    }
}

/// Writes a row, and waits for the request that tells of it.
async fn sent(site: &Site, receiver: &Receiver, external_id: &str) -> Arc<Received> {
    upsert_charge(site.database.client(), external_id, 1, 1).await;
    arrival(receiver, external_id).await
}

fn tokens(request: &Received) -> Vec<&str> {
    request.header("webhook-signature").split(' ').collect()
}

/// Asserts which of these secrets the published library accepts the request by.
#[track_caller]
fn assert_signed_by(request: &Received, secrets: &[(&str, bool)]) {
    for (secret, expected) in secrets {
        assert_eq!(request.verify(secret).is_ok(), *expected, "{secret}: {request:?}");
    }
    let signing = secrets.iter().filter(|(_, signs)| *signs).count();
    assert_eq!(tokens(request).len(), signing, "{request:?}");
}

async fn show(site: &Site, id: &str) -> Value {
    site.webhookdb.run(&["notification", "show", id, "--format", "json"]).await.json()
}

#[tokio::test]
async fn both_secrets_sign_during_the_grace_and_the_new_one_alone_after_it() {
    let site = Site::new("rotation").await;
    let receiver = Receiver::start().await;
    let id = site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let _daemon = site.serve().await;
    let before = sent(&site, &receiver, "ch_before").await;
    assert_signed_by(&before, &[(SECRET, true)]);
    let (new, answer) = rotate(&site, &id, "6s").await;
    let begun = Instant::now();
    let first = format!("Events to {} are signed with a new secret from now on.\nUntil 20", receiver.url("/"));
    assert!(answer.starts_with(&first), "{answer}");
    let during = sent(&site, &receiver, "ch_during").await;
    assert_signed_by(&during, &[(&new, true), (SECRET, true)]);
    // The current one comes first.
    let mut by_first = during.headers.clone();
    by_first.insert("webhook-signature", tokens(&during)[0].parse().expect("a header"));
    assert_eq!(crate::support::request::verify(&new, &during.body, &by_first), Ok(()));
    let mut number = 0;
    let after = loop {
        number += 1;
        let request = sent(&site, &receiver, &format!("ch_{number}")).await;
        if tokens(&request).len() == 1 {
            break request;
        }
        assert_signed_by(&request, &[(&new, true), (SECRET, true)]);
        assert!(begun.elapsed() < PATIENCE, "the grace does not end");
        tokio::time::sleep(POLL).await;
    };
    // The second that the grace ends in may be cut short, and clocks are of one machine here.
    assert!(begun.elapsed().as_secs() >= 4, "it ended early: {:?}", begun.elapsed());
    assert_signed_by(&after, &[(&new, true), (SECRET, false)]);
    let gone = "SELECT count(*) = 0 FROM notifications.previous_secrets";
    site.database.wait_until("the old secret is forgotten", gone).await;
    assert!(show(&site, &id).await["rotating_until"].is_null());
}

#[tokio::test]
async fn without_a_grace_the_old_secret_signs_nothing_once_the_command_has_returned() {
    let site = Site::new("rotation_at_once").await;
    let receiver = Receiver::start().await;
    let id = site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let _daemon = site.serve().await;
    sent(&site, &receiver, "ch_before").await;
    let (second, _) = rotate(&site, &id, "1h").await;
    let (third, _) = rotate(&site, &id, "1h").await;
    let request = sent(&site, &receiver, "ch_three").await;
    assert_signed_by(&request, &[(&third, true), (&second, true), (SECRET, true)]);
    let (last, answer) = rotate(&site, &id, "0s").await;
    assert!(!answer.contains("Until"), "{answer}");
    let request = sent(&site, &receiver, "ch_one").await;
    assert_signed_by(&request, &[(&last, true), (&third, false), (&second, false), (SECRET, false)]);
}

#[tokio::test]
async fn what_waits_for_a_retry_is_signed_by_the_new_secret_too() {
    let site = Site::new("rotation_retry").await;
    let receiver = Receiver::start().await;
    receiver.always(Reply::Status(500));
    let id = site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let _daemon = site.serve().await;
    let before = sent(&site, &receiver, "ch_1").await;
    let (new, _) = rotate(&site, &id, "1h").await;
    let seen = receiver.count();
    receiver.always(Reply::OK);
    let again = receiver.wait_until("the retry", |requests| requests.len() > seen).await[seen].clone();
    assert_eq!((again.webhook_id(), &again.body), (before.webhook_id(), &before.body));
    assert_signed_by(&again, &[(&new, true), (SECRET, true)]);
    // A daemon that begins anew knows it as well.
    site.webhookdb.run(&["notification", "test", &id]).await.ok();
}

#[tokio::test]
async fn a_rotation_under_way_is_told_without_any_secret() {
    let site = Site::new("rotation_told").await;
    let id = site.subscribe("stripe_charge_v1", "https://127.0.0.1/").await;
    let listed = site.webhookdb.run(&["notification", "list"]).await;
    assert_eq!((listed.stderr.as_str(), show(&site, &id).await["rotating_until"].is_null()), ("", true));
    let (new, answer) = rotate(&site, &id, "24h").await;
    let until = show(&site, &id).await["rotating_until"].as_str().expect("a time").to_owned();
    assert!(answer.contains(&format!("Until {until} they are signed with the one before it too.")), "{answer}");
    let mut all = String::new();
    for command in ["list", "show"] {
        for format in ["table", "json", "csv", "raw"] {
            let of_one = if command == "show" { vec![id.as_str()] } else { Vec::new() };
            let arguments = [&["notification", command, "--format", format][..], &of_one].concat();
            let output = site.webhookdb.run(&arguments).await;
            assert!(
                output.stderr.contains(&until) || output.stdout.contains(&until) || command == "list",
                "{arguments:?} does not tell of the rotation: {output:?}"
            );
            all += &(output.stdout + &output.stderr);
        }
    }
    let remark = format!("{id} is being rotated: the secret before its present one is good until {until}.");
    assert!(all.contains(&remark), "{all}");
    assert!(all.contains(&format!("\"rotating_until\": \"{until}\"")), "{all}");
    assert!(!all.contains(SECRET) && !all.contains(&new) && !all.contains("whsec_"), "{all}");
}

#[tokio::test]
async fn a_rotation_that_can_not_be_done_or_is_not_confirmed_says_so_and_what_to_do() {
    let site = Site::new("rotation_refused").await;
    let id = site.subscribe("stripe_charge_v1", "https://127.0.0.1/").await;
    let rotation =
        async |arguments: &[&str]| site.webhookdb.run(&[&["notification", "rotate"], arguments].concat()).await;
    let stderr = rotation(&["000000000000"]).await.fails_with(1);
    assert!(stderr.contains("there is no notification 000000000000"), "{stderr}");
    for wrong in ["soon", "91d", "-1s"] {
        rotation(&[&id, "--grace", wrong]).await.fails_with(2);
    }
    for _ in 0..8 {
        rotate(&site, &id, "1h").await;
    }
    let stderr = rotation(&[&id]).await.fails_with(1);
    assert!(stderr.contains("8 secrets before its present one") && stderr.contains("--grace 0s"), "{stderr}");
    rotate(&site, &id, "0s").await;
    site.database
        .execute(
            "INSERT INTO notifications.leases (source, daemon, epoch, host, pid, renewed_at, revision)
             VALUES ('main', 'd', 1, 'h', 1, now() + interval '5 minutes', 0)",
        )
        .await;
    let output = rotation(&[&id]).await;
    // It holds, and nobody else can tell it.
    assert!(output.stdout.contains("Verify with: whsec_"), "{output:?}");
    assert!(output.fails_with(1).contains("the new secret is recorded, but not yet confirmed"));
}
