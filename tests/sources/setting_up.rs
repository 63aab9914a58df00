//! `setup` of several sources.

use super::{Config, PostgresOptions, StopMode, TestDatabase, TwoSources, Webhookdb, own_cluster, stop};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_is_not_reached_fails_and_the_others_are_set_up() {
    let server = own_cluster(PostgresOptions::default());
    let (a, b) = tokio::join!(TestDatabase::create("setup_two"), TestDatabase::create_on(&server, "setup_two"));
    let config = Config::new(&b).set("catalog.url", a.url()).set("source.name", "b").add_source("a", &a);
    let webhookdb = Webhookdb::new(&config);
    stop(&server, StopMode::Immediate).await;
    let output = webhookdb.run(&["setup"]).await;
    assert!(output.stdout.contains("wrote the first checkpoint of source a"), "{output:?}");
    let stderr = output.fails_with(1);
    assert!(stderr.contains("source b could not be set up") && stderr.contains("hint: "), "{stderr}");
    super::start(&server).await;
    let said = webhookdb.run(&["setup"]).await.ok();
    assert!(said.contains("wrote the first checkpoint of source b"), "{said}");
    let said = webhookdb.run(&["setup", "--source", "b"]).await.ok();
    assert!(said.contains("source b: Postgres") && !said.contains("source a: Postgres"), "{said}");
    let stderr = webhookdb.run(&["setup", "--source", "c"]).await.fails_with(1);
    assert!(stderr.contains("no source c") && stderr.contains("b, a"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sources_of_one_database_are_refused_whatever_their_urls_say() {
    let database = TestDatabase::create("twice").await;
    let by_name = database.url().replace("127.0.0.1", "localhost");
    let config = Config::new(&database).set("source.name", "a").add_source("b", &database);
    let config = config.set_of("b", "url", by_name).set_of("b", "slot", format!("{}_b", database.name()));
    let output = Webhookdb::new(&config.clone().set_of("b", "publication", "b")).run(&["setup"]).await;
    let stderr = output.fails_with(1);
    assert!(stderr.contains("the database of source b is that of source a already"), "{stderr}");
    let slots = "SELECT count(*) = 1 FROM pg_replication_slots WHERE database = current_database()";
    assert!(database.is_true(slots).await);
    let same_url = Webhookdb::new(&config.set_of("b", "url", database.url()));
    let stderr = same_url.run(&["setup"]).await.fails_with(2);
    assert!(stderr.contains("its database is already that of the source at line"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_script_goes_to_each_database_and_drop_takes_everything_back() {
    let two = TwoSources::new("script_and_drop").await;
    let script = two.site.webhookdb.run(&["setup", "--sql"]).await.ok();
    let connects: Vec<&str> = script.lines().filter(|line| line.starts_with("\\connect")).collect();
    assert_eq!(connects.len(), 2, "{script}");
    for (connect, database) in connects.iter().zip([&two.site.database, &two.b]) {
        let expected = format!("\\connect '{}' - '127.0.0.1' '{}'", database.name(), database.cluster().port());
        assert_eq!(*connect, expected);
    }
    let tables: Vec<&str> = script.lines().filter(|line| line.starts_with("\\set tables '")).collect();
    assert!(tables[0].contains("stripe_charge") && !tables[0].contains("stripe_customer"), "{tables:?}");
    assert!(tables[1].contains("stripe_customer") && !tables[1].contains("stripe_charge"), "{tables:?}");
    let alone = two.site.webhookdb.run(&["setup", "--sql", "--source", "b"]).await.ok();
    assert!(alone.contains("stripe_customer") && !alone.contains("\\connect"), "{alone}");

    two.site.webhookdb.run(&["setup", "--drop", "--yes"]).await.ok();
    for database in [&two.site.database, &two.b] {
        let left = "SELECT NOT EXISTS (SELECT FROM pg_publication)
            AND NOT EXISTS (SELECT FROM pg_replication_slots WHERE database = current_database())";
        assert!(database.is_true(left).await);
    }
}
