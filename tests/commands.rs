//! Commands as their users type them: the transcripts word for word, names, secrets, URLs, formats, streams and exit codes.

use std::time::Duration;

use serde_json::Value;

use crate::support::fixtures::{CHARGES, CUSTOMERS};
use crate::support::{Output, Site, TestDatabase, Webhookdb};

const SECRET_PROMPT: &str = "Enter a random secret used to sign and verify notifications to the given url: ";
const URL_PROMPT: &str = "Enter the URL that WebhookDB should POST notifications to: ";

/// Whether anything of a subscription was left behind.
async fn subscriptions(site: &Site) -> i64 {
    site.database.query("SELECT count(*) FROM notifications.subscriptions", &[]).await[0].get(0)
}

fn cells(line: &str) -> Vec<String> {
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
}

/// As a daemon that serves would have it, with this revision of the catalog loaded; live for minutes.
async fn pretend_to_serve(site: &Site, revision: i64) {
    let lease = "INSERT INTO notifications.leases (source, daemon, epoch, host, pid, renewed_at, revision)
                 VALUES ('main', 'd', 1, 'h', 1, now() + interval '5 minutes', $1)
                 ON CONFLICT (source) DO UPDATE SET revision = excluded.revision";
    site.database.query(lease, &[&revision]).await;
}

#[tokio::test]
async fn create_for_an_integration_says_what_its_users_know() {
    let site = Site::new("create_integration").await;
    let create = ["notification", "create", "--integration=stripe_charge_v1"];
    let output = site.webhookdb.run_with_input(&create, "webhook_secret123\nhttps://127.0.0.1\n").await;
    assert!(output.stderr.contains(SECRET_PROMPT) && output.stderr.contains(URL_PROMPT), "{output:#?}");
    assert!(output.stderr.contains("warning: the secret is shorter than 24 bytes"), "{output:#?}");
    assert_eq!(
        output.ok(),
        "All notifications for this stripe_charge_v1 integration will be sent to https://127.0.0.1/\n\
         Verify with: whsec_d2ViaG9va19zZWNyZXQxMjM=\n"
    );
}

#[tokio::test]
async fn create_for_an_organization_says_what_its_users_know() {
    let site = Site::new("create_org").await;
    let create = ["notification", "create", "--org=acme_corp"];
    let stdout = site.webhookdb.run_with_input(&create, "  webhook_secret123 \n https://127.0.0.1 \n").await.ok();
    assert_eq!(
        stdout,
        "All notifications for all integrations belonging to organization Acme Corp will be sent to https://127.0.0.1.\n\
         Verify with: whsec_d2ViaG9va19zZWNyZXQxMjM=\n"
    );
}

#[tokio::test]
async fn list_shows_the_four_columns_and_the_status() {
    let site = Site::new("list").await;
    let empty = site.webhookdb.run(&["notification", "list"]).await.ok();
    assert!(empty.contains("webhookdb notification create"), "{empty}");
    let one = site.subscribe("stripe_charge_v1", "https://127.0.0.1").await;
    let all = site.subscribe_organization("https://127.0.0.1").await;
    let list = site.webhookdb.run(&["notification", "list"]).await.ok();
    let lines: Vec<Vec<String>> = list.lines().map(cells).collect();
    assert_eq!(lines[0], ["ID", "URL", "ASSOCIATED TYPE", "ASSOCIATED ID", "STATUS"]);
    let integration = site.integration_id(&CHARGES).await;
    let url = "https://127.0.0.1";
    assert_eq!(lines[1], [&one, url, "service_integration", &integration, "pending"]);
    assert_eq!(lines[2], [&all, url, "organization", "acme_corp", "pending"]);
    assert!(list.lines().all(|line| line.starts_with("  ") && !line.ends_with(' ')), "{list}");
    for alias in ["notifications", "webhook", "webhooks"] {
        assert_eq!(site.webhookdb.run(&[alias, "list"]).await.ok(), list);
    }
}

#[tokio::test]
async fn every_list_comes_in_four_formats() {
    let site = Site::new("formats").await;
    let run = async |list: &str, format: &str| site.webhookdb.run(&[list, "list", "--format", format]).await.ok();
    assert_eq!(run("notification", "json").await, "[]\n");
    assert_eq!(run("notification", "csv").await, "ID,URL,ASSOCIATED TYPE,ASSOCIATED ID,STATUS\n");
    let id = site.subscribe("stripe_charge_v1", "https://127.0.0.1").await;
    let fields = async |list: &str| {
        let items: Value = serde_json::from_str(&run(list, "json").await).expect("JSON");
        let mut names: Vec<String> = items[0].as_object().expect("an object").keys().cloned().collect();
        names.sort();
        names.join(" ")
    };
    assert_eq!(fields("org").await, "key name schema");
    assert_eq!(
        fields("integrations").await,
        "external_id_column opaque_id organization published_since schema service_name source table_name"
    );
    assert_eq!(
        fields("notification").await,
        "associated_id associated_type created_at deliver_to_url opaque_id status"
    );
    assert!(run("notification", "csv").await.contains(&format!("\n{id},https://127.0.0.1,service_integration,svi_")));
    let raw = run("notification", "raw").await;
    assert!(raw.contains("\n    \"opaque_id\"") && !raw.contains("secret"), "{raw}");
}

#[tokio::test]
async fn integrations_are_listed_with_their_external_id_since_they_are_published() {
    let site = Site::new("integrations_list").await;
    let list = async || site.webhookdb.run(&["integrations", "list", "--format", "json"]).await.json();
    assert_eq!(list().await[0]["published_since"], Value::Null);
    site.subscribe("stripe_charge_v1", "https://127.0.0.1").await;
    let published = list().await;
    assert_eq!(published[0]["external_id_column"], "stripe_id");
    assert!(published[0]["published_since"].as_str().is_some_and(|since| since.ends_with('Z')), "{published}");
}

#[tokio::test]
async fn an_integration_is_named_by_id_service_or_table_and_an_organization_by_key_or_name() {
    let site = Site::new("names").await;
    let id = site.integration_id(&CHARGES).await;
    for name in [id.as_str(), CHARGES.service, CHARGES.name] {
        site.subscribe(name, "https://127.0.0.1").await;
    }
    for name in ["acme_corp", "Acme Corp"] {
        let create = ["notification", "create", "--org", name, "--secret", "", "--url", "https://127.0.0.1"];
        site.webhookdb.run(&create).await.ok();
    }
    assert_eq!(subscriptions(&site).await, 5);
}

#[tokio::test]
async fn an_unknown_or_ambiguous_name_is_an_error_that_helps_and_leaves_nothing_behind() {
    let site = Site::new("wrong_names").await;
    let second = ["integrations", "add", "--org", "acme_corp", "--service", CHARGES.service, "--table", "second"];
    site.webhookdb.run(&second).await.ok();
    let create = async |scope: &str| {
        let create = ["notification", "create", scope, "--secret", "", "--url", "https://127.0.0.1"];
        site.webhookdb.run(&create).await.fails_with(1)
    };
    let ambiguous = create(&format!("--integration={}", CHARGES.service)).await;
    let list = site.webhookdb.run(&["integrations", "list", "--format", "json"]).await.json();
    let candidates = list.as_array().expect("a list").iter().filter(|item| item["service_name"] == CHARGES.service);
    for candidate in candidates {
        assert!(ambiguous.contains(candidate["opaque_id"].as_str().expect("an id")), "{ambiguous}");
    }
    assert!(create("--integration=nobody").await.contains("hint: `webhookdb integrations list`"));
    assert!(create("--org=nobody").await.contains("hint: `webhookdb org list`"));
    for command in ["test", "delete"] {
        for id in ["000000000000", "no id at all"] {
            let stderr = site.webhookdb.run(&["notification", command, id]).await.fails_with(1);
            assert!(stderr.contains("hint: `webhookdb notification list`"), "{stderr}");
        }
    }
    assert_eq!(subscriptions(&site).await, 0);
}

#[tokio::test]
async fn an_empty_secret_is_generated_and_shown_once() {
    let site = Site::new("generated").await;
    let create = ["notification", "create", "--org=acme_corp", "--url", "https://127.0.0.1"];
    let stdout = site.webhookdb.run_with_input(&create, "\n").await.ok();
    let shown = stdout.lines().find_map(|line| line.strip_prefix("Verify with: ")).expect("the key").to_owned();
    let stored = site.database.text("SELECT secret FROM notifications.subscriptions").await.expect("a secret");
    assert_eq!(shown, stored);
    assert_eq!(shown.len(), "whsec_".len() + 44);
    let list = site.webhookdb.run(&["notification", "list", "--format", "raw"]).await.ok();
    assert!(!list.contains(&shown));
}

#[tokio::test]
async fn a_secret_may_come_from_a_file_and_a_bad_one_is_refused() {
    let site = Site::new("secrets").await;
    let path = site.webhookdb.directory().join("secret");
    let from_file =
        ["notification", "create", "--org=acme_corp", "--secret-file", "secret", "--url", "https://127.0.0.1"];
    for bad in ["whsec_", "whsec_c2hvcnQ=", "whsec_not base64"] {
        std::fs::write(&path, bad).expect("the secret");
        let stderr = site.webhookdb.run(&from_file).await.fails_with(1);
        assert!(stderr.contains("whsec_") && stderr.contains("hint: "), "{stderr}");
    }
    assert_eq!(subscriptions(&site).await, 0);
    let good = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    std::fs::write(&path, format!("{good}\n")).expect("the secret");
    let output = site.webhookdb.run(&from_file).await;
    assert!(!output.stderr.contains("warning"), "{output:#?}");
    assert!(output.ok().ends_with(&format!("\nVerify with: {good}\n")));
}

#[tokio::test]
async fn a_bad_url_is_refused_and_leaves_nothing_behind() {
    let site = Site::new("bad_urls").await;
    for url in [
        "",
        "example.com",
        "ftp://127.0.0.1",
        "https://",
        "https://user:hunter2@127.0.0.1/",
        "https://10.0.0.1/",
        "https://[::1]/",
        "https://169.254.169.254/latest",
    ] {
        let create = ["notification", "create", "--org=acme_corp", "--secret", "", "--url", url];
        let stderr = site.webhookdb.run(&create).await.fails_with(1);
        assert!(stderr.contains("hint: ") && !stderr.contains("hunter2"), "{url}: {stderr}");
    }
    assert_eq!(subscriptions(&site).await, 0);
}

#[tokio::test]
async fn a_host_that_can_not_be_resolved_is_accepted_with_a_warning() {
    let site = Site::new("unresolved").await;
    let create = ["notification", "create", "--org=acme_corp", "--secret", "", "--url", "https://no.such.host.invalid"];
    let output = site.webhookdb.run(&create).await;
    assert!(output.stderr.contains("warning: no.such.host.invalid can't be resolved"), "{output:#?}");
    output.ok();
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_an_error() {
    let site = Site::new("no_answer").await;
    let stderr = site.webhookdb.run(&["notification", "create", "--org=acme_corp"]).await.fails_with(1);
    assert!(stderr.contains("hint: give --secret-file or --secret"), "{stderr}");
    assert_eq!(subscriptions(&site).await, 0);
}

#[tokio::test]
async fn create_leaves_nothing_where_the_start_can_not_be_marked_or_a_table_not_be_published() {
    let site = Site::new("create_fails").await;
    let add = ["integrations", "add", "--org", "acme_corp", "--service", "later_v1", "--table", "later"];
    site.webhookdb.run(&add).await.ok();
    let create = |integration: &'static str| {
        ["notification", "create", "--integration", integration, "--secret", "", "--url", "https://127.0.0.1"]
    };
    let stderr = site.webhookdb.run(&create("later_v1")).await.fails_with(1);
    assert!(stderr.contains("table public.later"), "{stderr}");
    site.database.execute("CREATE UNLOGGED TABLE later (id int PRIMARY KEY)").await;
    let stderr = site.webhookdb.run(&create("later_v1")).await.fails_with(1);
    assert!(stderr.contains("unlogged") && stderr.contains("SET LOGGED"), "{stderr}");
    site.database.execute("DROP PUBLICATION webhookdb_notifications").await;
    let stderr = site.webhookdb.run(&create("stripe_charge_v1")).await.fails_with(1);
    assert!(stderr.contains("hint: run `webhookdb setup`"), "{stderr}");
    assert_eq!(subscriptions(&site).await, 0);
    let relations = "SELECT NOT EXISTS (SELECT FROM notifications.relations WHERE table_name = 'later')";
    assert!(site.database.is_true(relations).await);
}

#[tokio::test]
async fn create_marks_the_start_in_the_log_with_the_nonce() {
    let site = Site::new("marks_start").await;
    let id = site.subscribe("stripe_charge_v1", "https://127.0.0.1").await;
    let nonce = site.database.text("SELECT nonce FROM notifications.subscriptions").await.expect("a nonce");
    let marked = format!(
        "SELECT encode(data, 'escape') LIKE '%webhookdb.notifications%{id}:{nonce}%'
         FROM pg_logical_slot_peek_binary_changes('{}', NULL, NULL, 'proto_version', '1', 'publication_names',
            'webhookdb_notifications', 'messages', 'true') WHERE get_byte(data, 0) = ascii('M')",
        site.database.name()
    );
    assert!(site.database.is_true(&marked).await);
}

#[tokio::test]
async fn delete_is_confirmed_at_once_where_no_daemon_lives() {
    let site = Site::new("delete").await;
    let id = site.subscribe("stripe_charge_v1", "https://127.0.0.1").await;
    let said = site.webhookdb.run(&["notification", "delete", &id]).await.ok();
    assert_eq!(said, "Events will no longer be sent to https://127.0.0.1.\n");
    assert_eq!(subscriptions(&site).await, 0);
}

#[tokio::test]
async fn delete_waits_for_the_daemon_and_says_when_it_does_not_confirm() {
    let site = Site::new("delete_waits").await;
    let id = site.subscribe("stripe_charge_v1", "https://127.0.0.1").await;
    pretend_to_serve(&site, 0).await;
    let stderr = site.webhookdb.run(&["notification", "delete", &id]).await.fails_with(1);
    assert!(stderr.contains("recorded, but not yet confirmed"), "{stderr}");
    assert_eq!(site.webhookdb.run(&["notification", "list", "--format", "json"]).await.json(), Value::Array(vec![]));
    pretend_to_serve(&site, i64::MAX).await;
    site.webhookdb.run(&["notification", "delete", &id]).await.ok();
    assert_eq!(subscriptions(&site).await, 0);
}

#[tokio::test]
async fn test_says_so_where_no_daemon_runs() {
    let site = Site::new("test_alone").await;
    let id = site.subscribe("stripe_charge_v1", "https://127.0.0.1").await;
    let stderr = site.webhookdb.run(&["notification", "test", &id]).await.fails_with(1);
    assert!(stderr.contains("no daemon is running") && stderr.contains("webhookdb serve"), "{stderr}");
}

#[tokio::test]
async fn test_tells_the_answer() {
    let site = Site::new("test_answer").await;
    let id = site.subscribe("stripe_charge_v1", "https://127.0.0.1").await;
    pretend_to_serve(&site, i64::MAX).await;
    assert_eq!(
        answered(&site, &id, "delivered = true").await.ok(),
        "A test event has been sent to https://127.0.0.1.\n"
    );
    let stderr = answered(&site, &id, "delivered = false, error = 'it said 500'").await.fails_with(1);
    assert!(stderr.contains("it said 500"), "{stderr}");
    assert!(site.database.is_true("SELECT count(*) = 0 FROM notifications.test_requests").await);
}

/// Runs `notification test`, with the request answered as a daemon would.
async fn answered(site: &Site, id: &str, answer: &str) -> Output {
    let daemon = async {
        site.database.wait_until("a request", "SELECT count(*) = 1 FROM notifications.test_requests").await;
        site.database.execute(&format!("UPDATE notifications.test_requests SET {answer}")).await;
    };
    let command = ["notification", "test", id];
    tokio::join!(site.webhookdb.run(&command), daemon).0
}

#[tokio::test]
async fn an_integration_with_notifications_is_removed_by_force_only() {
    let site = Site::new("remove").await;
    let attached = site.subscribe("stripe_charge_v1", "https://127.0.0.1").await;
    site.subscribe_organization("https://127.0.0.1/all").await;
    let stderr = site.webhookdb.run(&["integrations", "remove", "stripe_charge_v1"]).await.fails_with(1);
    assert!(stderr.contains(&attached) && stderr.contains("--force"), "{stderr}");
    site.webhookdb.run(&["integrations", "remove", "stripe_charge_v1", "--force"]).await.ok();
    assert_eq!(subscriptions(&site).await, 1);
    let tombstone = "SELECT state = 'removed' FROM notifications.relations WHERE table_name = 'stripe_charge_v1_fdcc'";
    assert!(site.database.is_true(tombstone).await);
    let published = "SELECT count(*) = 1 FROM pg_publication_tables WHERE pubname = 'webhookdb_notifications'";
    assert!(site.database.is_true(published).await, "only the other table is left in the publication");
    site.integrate(&CHARGES).await;
    site.subscribe("stripe_charge_v1", "https://127.0.0.1").await;
    assert!(!site.database.is_true(tombstone).await, "the table is published for its new integration");
}

#[tokio::test]
async fn an_organization_gets_its_default_key_and_keeps_it() {
    let site = Site::new("org_create").await;
    let create = |arguments: &[&'static str]| [&["org", "create"], arguments].concat();
    let said = site.webhookdb.run(&create(&["Globex, Inc"])).await.ok();
    assert_eq!(said, "Organization Globex, Inc (globex_inc) was created.\n");
    let stderr = site.webhookdb.run(&create(&["Globex Inc"])).await.fails_with(1);
    assert!(stderr.contains("globex_inc exists already") && stderr.contains("--key"), "{stderr}");
    site.webhookdb.run(&create(&["Globex Inc", "--key", "globex_2", "--schema", "whdb_globex"])).await.ok();
    let list = site.webhookdb.run(&["org", "list", "--format", "csv"]).await.ok();
    assert!(list.ends_with("globex_2,Globex Inc,whdb_globex\n"), "{list}");
}

#[tokio::test]
async fn the_schema_of_an_organization_or_an_integration_is_where_its_table_is_found() {
    let site = Site::new("schemas").await;
    site.database.execute("CREATE SCHEMA whdb_globex; CREATE SCHEMA other").await;
    site.database
        .execute("CREATE TABLE whdb_globex.a (pk int PRIMARY KEY); CREATE TABLE other.b (pk int PRIMARY KEY)")
        .await;
    site.webhookdb.run(&["org", "create", "Globex", "--schema", "whdb_globex"]).await.ok();
    let add = ["integrations", "add", "--org", "globex", "--service", "a_v1", "--table", "a"];
    let said = site.webhookdb.run(&add).await.ok();
    assert!(said.contains("svi_") && said.contains("whdb_globex.a"), "{said}");
    let add = ["integrations", "add", "--org", "globex", "--service", "b_v1", "--table", "b", "--schema", "other"];
    site.webhookdb.run(&add).await.ok();
    for service in ["a_v1", "b_v1"] {
        site.subscribe(service, "https://127.0.0.1").await;
    }
}

#[tokio::test]
async fn status_tells_what_is_wrong_and_exits_1() {
    let database = TestDatabase::create("status").await;
    let webhookdb = Webhookdb::for_database(&database);
    let before = webhookdb.run(&["status"]).await;
    assert!(before.stderr.contains("webhookdb setup"), "{before:#?}");
    before.fails_with(1);
    let site = Site::in_database(database, |config| config).await;
    let id = site.subscribe("stripe_charge_v1", "https://127.0.0.1").await;
    let output = site.webhookdb.run(&["status", "--format", "json"]).await;
    assert_eq!(output.status, 1, "{output:#?}");
    let status: Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!((&status["sources"][0]["name"], &status["sources"][0]["state"]), (&"main".into(), &"stopped".into()));
    assert!(status["sources"][0]["lag_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{status}");
    assert_eq!((&status["subscriptions"][0]["opaque_id"], &status["daemon"]["alive"]), (&id.into(), &false.into()));
    let text = site.webhookdb.run(&["status"]).await;
    assert!(text.stdout.contains("no daemon is running") && text.stdout.contains("webhookdb serve"), "{text:#?}");
}

#[tokio::test]
async fn wrong_usage_exits_2() {
    let webhookdb = Webhookdb::with_text("");
    for arguments in [
        &["notification", "create"][..],
        &["notification", "create", "--org=a", "--integration=b"],
        &["notification", "list", "--format=xml"],
        &["setup", "--yes"],
        &["no-such-command"],
    ] {
        webhookdb.run_within(arguments, "", Duration::from_secs(20)).await.fails_with(2);
    }
    assert!(webhookdb.run(&["--help"]).await.ok().contains("notification"));
}

#[tokio::test]
async fn two_integrations_of_one_table_are_refused() {
    let site = Site::new("one_table").await;
    site.subscribe(CUSTOMERS.service, "https://127.0.0.1").await;
    site.webhookdb.run(&["org", "create", "Globex"]).await.ok();
    let add = ["integrations", "add", "--org", "globex", "--service", "again_v1", "--table", CUSTOMERS.name];
    site.webhookdb.run(&add).await.ok();
    let create = ["notification", "create", "--integration=again_v1", "--secret", "", "--url", "https://127.0.0.1"];
    let stderr = site.webhookdb.run(&create).await.fails_with(1);
    assert!(stderr.contains(&site.integration_id(&CUSTOMERS).await), "{stderr}");
}

#[tokio::test]
async fn status_is_well_where_a_daemon_streams_and_exits_0() {
    let site = Site::new("status_well").await;
    let id = site.subscribe("stripe_charge_v1", "https://127.0.0.1").await;
    let daemon = site.serve().await;
    let status = site.webhookdb.run(&["status", "--format", "json"]).await.json();
    assert_eq!((&status["sources"][0]["state"], &status["sources"][0]["reason"]), (&"streaming".into(), &Value::Null));
    assert_eq!((&status["daemon"]["alive"], &status["daemon"]["epoch"]), (&true.into(), &1.into()));
    let text = site.webhookdb.run(&["status"]).await.ok();
    assert!(text.contains("alive") && text.contains("streaming") && text.contains(&id), "{text}");
    drop(daemon);
}

/// What a shell would offer, by what the program itself prints for it.
#[tokio::test]
async fn completions_and_man_pages_are_made_by_the_program_without_a_config() {
    let webhookdb = Webhookdb::with_text("no = \"config\"");
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = webhookdb.run(&["completions", shell, "--name", "webhookdb-notifications"]).await.ok();
        assert!(script.contains("webhookdb-notifications") && script.contains("integrations"), "{shell}: {script}");
    }
    let script = webhookdb.run(&["completions", "bash"]).await.ok();
    let complete = "COMP_WORDS=(webhookdb notification ena); COMP_CWORD=2; _webhookdb webhookdb ena notification; echo ${COMPREPLY[@]}";
    let output = tokio::process::Command::new("bash")
        .args(["-c", &format!("{script}\n{complete}")])
        .output()
        .await
        .expect("bash");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "enable", "{output:?}");
    let page = webhookdb.run(&["man"]).await.ok();
    assert!(page.contains(".TH webhookdb 1") && page.contains("notification"), "{page}");
    let directory = webhookdb.directory().join("man/man1");
    let target = directory.to_str().expect("UTF-8");
    webhookdb.run(&["man", "--output", target, "--name", "webhookdb-notifications"]).await.ok();
    for name in
        ["webhookdb-notifications", "webhookdb-notifications-status", "webhookdb-notifications-notification-create"]
    {
        let page = std::fs::read_to_string(directory.join(format!("{name}.1"))).expect(name);
        assert!(page.contains(&format!(".TH {name} 1")), "{page}");
    }
}

#[tokio::test]
async fn status_begins_with_the_verdict_and_has_no_colours_where_there_is_no_terminal() {
    let site = Site::new("status_screen").await;
    let id = site.subscribe("stripe_charge_v1", "https://127.0.0.1/hooks").await;
    let down = site.webhookdb.run(&["status"]).await.stdout;
    assert!(down.starts_with("Status   not healthy: source main is stopped\nDaemon   never started\n"), "{down}");
    let daemon = site.serve().await;
    let up = site.webhookdb.run(&["status"]).await.ok();
    assert!(up.starts_with("Status   healthy\nDaemon   alive, host "), "{up}");
    assert!(up.contains(&format!("  {id}   ")) && up.contains("https://127.0.0.1/hooks"), "{up}");
    site.database.execute("UPDATE notifications.subscriptions SET failing_since = now()").await;
    let failing = site.webhookdb.run(&["status"]).await.ok();
    assert!(failing.starts_with("Status   healthy; notifications: 1 of 1 failing\n"), "{failing}");
    assert!(failing.contains(&format!("`webhookdb notification show {id}`")), "{failing}");
    for (colourless, argument) in [(true, "NO_COLOR"), (false, "CLICOLOR_FORCE")] {
        let mut command = site.webhookdb.command(&["status"]);
        command.env_remove("NO_COLOR").env(argument, "1").stdout(std::process::Stdio::piped());
        let output = command.output().await.expect("the binary");
        assert_eq!(!output.stdout.contains(&0x1b), colourless, "{argument}: {output:?}");
    }
    drop(daemon);
}

#[tokio::test]
async fn status_tells_what_it_can_where_the_catalog_is_away() {
    let database = TestDatabase::create("status_no_catalog").await;
    let site = Site::in_database(database, |config| config).await;
    let daemon = site.serve().await;
    site.webhookdb.reconfigure(&site.config.clone().set("catalog.url", "postgres://127.0.0.1:1/nowhere"));
    let output = site.webhookdb.run(&["status"]).await;
    let words = [
        "the catalog could not be read",
        "source main is unreachable",
        "slot in use by",
        "something reads from the slot",
    ];
    for word in words {
        assert!(output.stdout.contains(word), "{word}: {output:#?}");
    }
    assert!(
        output.stderr.contains("cannot use the catalog's database") && output.stderr.contains("hint: "),
        "{output:#?}"
    );
    output.fails_with(1);
    drop(daemon);
}
