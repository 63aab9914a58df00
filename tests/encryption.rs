//! Stored secrets: encrypted as WebhookDB does it, read on under older keys and in plain, and nothing lost without the key.

use serde_json::json;

use crate::support::fixtures::upsert_charge;
use crate::support::receiver::SECRET;
use crate::support::{Config, Receiver, Site};

const KEY: &str = "Tc3X6zkxXgZfHE81MFz2EILStV++BuQY";
const OTHER_KEY: &str = "another key of 32 bytes, any tex";

/// `wh_secret`, as WebhookDB itself has encrypted it under [`KEY`].
const OF_WEBHOOKDB: &str =
    "AAAAAGuMYMcmhZAXtTDb75P4HNM9NPob1H2uCGnTEKzxoPGGsuLkvjMnQDn2DGedLslu64qZJuQHDy7u-PRd0gEiD2eD3zPrjlvhrI1g9YGQ";

fn with_key(config: Config) -> Config {
    config.set("catalog.encryption_key", KEY)
}

/// What is stored of each secret, in the order of their subscriptions.
async fn stored(site: &Site) -> Vec<(String, bool)> {
    let sql = "SELECT secret, secret_encrypted FROM notifications.subscriptions ORDER BY id";
    site.database.query(sql, &[]).await.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// Puts this secret in the place of a subscription's, as another program might; every daemon hears of it.
async fn plant(site: &Site, id: &str, secret: &str) {
    let sql = format!(
        "UPDATE notifications.subscriptions SET secret = '{secret}', secret_encrypted = true WHERE opaque_id = '{id}';
         UPDATE notifications.revision SET value = value + 1; SELECT pg_notify('webhookdb_notifications', 'catalog')"
    );
    site.database.execute(&sql).await;
    let heard = "SELECT coalesce(bool_and(released OR revision >= (SELECT value FROM notifications.revision)), true)
                 FROM notifications.leases";
    site.database.wait_until("the daemon has heard", heard).await;
}

#[tokio::test]
async fn secrets_are_stored_encrypted_and_signed_with_all_the_same() {
    let site = Site::with("encryption", with_key).await;
    let receiver = Receiver::start().await;
    let id = site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let secrets = stored(&site).await;
    let [(secret, is_encrypted)] = secrets.as_slice() else { panic!("{secrets:?}") };
    assert!(*is_encrypted && !secret.contains(SECRET) && secret.starts_with("AAAAA"), "{secret}");
    let _daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    receiver.wait_for(1).await;
    site.webhookdb.run(&["notification", "test", &id]).await.ok();
    // A rotated one is encrypted too, and so is the one before it.
    site.webhookdb.run(&["notification", "rotate", &id]).await.ok();
    let all = "SELECT bool_and(secret_encrypted) FROM
               (SELECT secret_encrypted FROM notifications.subscriptions
                UNION ALL SELECT secret_encrypted FROM notifications.previous_secrets) s";
    assert!(site.database.is_true(all).await);
    upsert_charge(site.database.client(), "ch_2", 1, 1).await;
    receiver.wait_for_id("ch_2").await;
    site.webhookdb.run(&["status"]).await.ok();
}

#[tokio::test]
async fn what_webhookdb_has_encrypted_is_signed_with() {
    let site = Site::with("encryption_webhookdb", with_key).await;
    let receiver = Receiver::start_with_secret("wh_secret").await;
    let id = site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    plant(&site, &id, OF_WEBHOOKDB).await;
    let _daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    receiver.wait_for(1).await;
}

#[tokio::test]
async fn secrets_stored_in_plain_go_on_working_and_setup_encrypts_them() {
    let site = Site::new("encryption_plain").await;
    let receiver = Receiver::start().await;
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    assert_eq!(stored(&site).await, [(SECRET.to_owned(), false)]);
    site.webhookdb.reconfigure(&with_key(site.config.clone()));
    let _daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    receiver.wait_for(1).await;
    let said = site.webhookdb.run(&["setup"]).await.ok();
    assert!(said.contains("+ encrypted 1 signing secret by key 0\n"), "{said}");
    let encrypted = stored(&site).await;
    assert!(encrypted[0].1 && !encrypted[0].0.contains(SECRET), "{encrypted:?}");
    upsert_charge(site.database.client(), "ch_2", 1, 1).await;
    receiver.wait_for_id("ch_2").await;
    let said = site.webhookdb.run(&["setup"]).await.ok();
    assert!(!said.contains("encrypted"), "{said}");
    assert_eq!(stored(&site).await, encrypted);
}

#[tokio::test]
async fn a_key_is_replaced_by_another_without_a_notification_lost() {
    let site = Site::with("encryption_rotation", with_key).await;
    let receiver = Receiver::start().await;
    let id = site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    site.webhookdb.run(&["notification", "rotate", &id, "--grace", "1h"]).await.ok();
    let both = with_key(site.config.clone())
        .set("catalog.encryption_key", OTHER_KEY)
        .set("catalog.encryption_key_id", 1)
        .set("catalog.old_encryption_keys", vec![format!("0:{KEY}")]);
    site.webhookdb.reconfigure(&both);
    let daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_under_old", 1, 1).await;
    receiver.wait_for(1).await;
    let said = site.webhookdb.run(&["setup"]).await.ok();
    assert!(said.contains("+ encrypted 2 signing secrets by key 1\n"), "{said}");
    upsert_charge(site.database.client(), "ch_under_new", 1, 1).await;
    receiver.wait_for(2).await;
    daemon.terminate().await;
    site.webhookdb.reconfigure(&both.unset("catalog.old_encryption_keys"));
    let _daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_without_old", 1, 1).await;
    receiver.wait_for(3).await;
}

#[tokio::test]
async fn without_the_key_or_by_another_every_command_says_so_and_nothing_is_lost() {
    let site = Site::with("encryption_missing", with_key).await;
    let receiver = Receiver::start().await;
    let id = site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let before = stored(&site).await;
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    let without = site.config.clone().unset("catalog.encryption_key");
    let unknown = without.clone().set("catalog.encryption_key", OTHER_KEY).set("catalog.encryption_key_id", 1);
    let wrong = without.clone().set("catalog.encryption_key", OTHER_KEY);
    for (config, words) in [
        (&without, "the config has no encryption key"),
        (&unknown, "encrypted under key 0, which the config does not have"),
        (&wrong, "not encrypted by the config's key 0"),
    ] {
        site.webhookdb.reconfigure(config);
        for command in [&["serve"][..], &["setup"], &["status"], &["notification", "rotate", &id]] {
            let stderr = site.webhookdb.run(command).await.fails_with(1);
            let what = format!("the signing secret of notification {id} can't be read");
            assert!(stderr.contains(&what) && stderr.contains(words), "{command:?}: {stderr}");
            let hint = stderr.lines().find(|line| line.starts_with("hint: ")).expect("a hint");
            assert!(hint.contains("that had the number 0"), "{hint}");
        }
        // What needs no secret is done without.
        site.webhookdb.run(&["notification", "list"]).await.ok();
        site.webhookdb.run(&["notification", "show", &id]).await.ok();
    }
    for config in [&without, &wrong] {
        site.webhookdb.reconfigure(config);
        let create =
            ["notification", "create", "--integration=stripe_charge_v1", "--secret", "x", "--url", "https://127.0.0.1"];
        let stderr = site.webhookdb.run(&create).await.fails_with(1);
        assert!(stderr.contains("can't be read"), "{stderr}");
    }
    assert_eq!(stored(&site).await, before);
    site.webhookdb.reconfigure(&site.config);
    let _daemon = site.serve().await;
    receiver.expect_ids(&["ch_1"]).await;
}

#[tokio::test]
async fn a_running_daemon_without_the_key_keeps_everything_for_one_and_serves_the_others() {
    let site = Site::new("encryption_running").await;
    let (sealed, other) = (Receiver::start_with_secret("wh_secret").await, Receiver::start().await);
    let id = site.subscribe("stripe_charge_v1", &sealed.url("/")).await;
    site.subscribe("stripe_charge_v1", &other.url("/")).await;
    let daemon = site.serve().await;
    plant(&site, &id, OF_WEBHOOKDB).await;
    daemon.wait_for_log("its secret can't be read").await;
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    other.wait_for(1).await;
    site.database.wait_until("it is owed", "SELECT count(*) = 1 FROM notifications.outbox WHERE attempts = 0").await;
    let stderr = site.webhookdb.run(&["notification", "test", &id]).await.fails_with(1);
    assert!(stderr.contains("the daemon does not have the key"), "{stderr}");
    // By the right config only the daemon is wrong.
    site.webhookdb.reconfigure(&with_key(site.config.clone()));
    let stderr = site.webhookdb.run(&["status"]).await.fails_with(1);
    assert!(stderr.contains("can't read the secrets of 1 notification"), "{stderr}");
    assert!(stderr.contains("hint: restart it with this config"), "{stderr}");
    let said = site.webhookdb.run(&["setup"]).await.ok();
    assert!(said.contains("encrypted 1 signing secret by key 0"), "{said}");
    assert!(said.contains("can't read the secrets of 2 notifications") && said.contains("restart it"), "{said}");
    assert_eq!(sealed.count(), 0);
    daemon.terminate().await;
    let _daemon = site.serve().await;
    sealed.expect_ids(&["ch_1"]).await;
    upsert_charge(site.database.client(), "ch_2", 1, 1).await;
    sealed.expect_ids(&["ch_1", "ch_2"]).await;
    site.webhookdb.run(&["status"]).await.ok();
}

#[tokio::test]
async fn where_the_key_is_lost_a_new_secret_helps() {
    let site = Site::with("encryption_lost", with_key).await;
    let id = site.subscribe("stripe_charge_v1", "https://127.0.0.1/").await;
    site.webhookdb.reconfigure(&site.config.clone().set("catalog.encryption_key", OTHER_KEY));
    let answer = site.webhookdb.run(&["notification", "rotate", &id, "--grace", "0s"]).await.ok();
    assert!(answer.contains("Verify with: whsec_"), "{answer}");
    site.webhookdb.run(&["setup"]).await.ok();
    let status = site.webhookdb.run(&["status", "--format", "json"]).await;
    assert!(!status.stderr.contains("can't be read"), "{status:?}");
    let report: serde_json::Value = serde_json::from_str(&status.stdout).expect("JSON");
    assert_eq!(report["subscriptions"][0]["opaque_id"], json!(id));
}
