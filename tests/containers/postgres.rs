//! The image of the Dockerfile beside a Postgres in a container.

use testcontainers::core::WaitFor;
use testcontainers::{GenericImage, ImageExt};
use webhookdb_notifications_container_tests::{Stage, log, run, wait_until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notifications_flow_from_postgres_14() {
    notifications_flow("14").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notifications_flow_from_postgres_18() {
    notifications_flow("18").await;
}

async fn notifications_flow(major: &str) {
    let stage = Stage::new(major).await;
    assert!(stage.sql("SHOW server_version").await.starts_with(major));
    let config = stage.config(&format!("url = \"{}\"", stage.database_url()), "info");
    // A container of the program that does nothing by itself is where the operator types.
    let operator = stage
        .program("operator", &config, |image| {
            image
                .with_cmd(["demo", "--receive", "127.0.0.1:8000"])
                .with_env_var("WEBHOOKDB_VERIFY_WITH", webhookdb_notifications_container_tests::KEY)
        })
        .await;
    stage.prepare(&operator, "webhookdb").await;
    // Started once the image's own health check has passed.
    let healthy = |image: testcontainers::ContainerRequest<GenericImage>| {
        image.with_ready_conditions(vec![WaitFor::healthcheck()])
    };
    let daemon = stage.program("daemon", &config, healthy).await;
    let ready = async || run(&daemon, &["webhookdb", "healthcheck", "--ready"]).await;
    wait_until("streaming", ready, |output| output.status == 0).await;
    assert_eq!(run(&daemon, &["id", "-u"]).await.ok().trim(), "65532", "it is to be nobody's account");

    stage.insert("ch_1").await;
    stage.sql("UPDATE stripe_charge_v1_fdcc SET amount = 2 WHERE stripe_id = 'ch_1'").await;
    stage.sql("DELETE FROM stripe_charge_v1_fdcc WHERE stripe_id = 'ch_1'").await;
    for kind in ["row.inserted", "row.updated", "row.deleted"] {
        stage.wait_for_arrival(kind, "ch_1").await;
    }

    // Postgres goes and comes back: alive meanwhile, and nothing that was committed is lost.
    stage.insert("ch_2").await;
    stage.postgres.stop_with_timeout(Some(30)).await.expect("Postgres stops");
    wait_until("waiting", ready, |output| output.status == 1).await;
    run(&daemon, &["webhookdb", "healthcheck"]).await.ok();
    stage.postgres.start().await.expect("Postgres starts");
    stage.wait_for_postgres().await;
    stage.insert("ch_3").await;
    stage.wait_for_arrival("row.inserted", "ch_2").await;
    stage.wait_for_arrival("row.inserted", "ch_3").await;

    // What `docker stop` asks for is an orderly stop, well within the ten seconds that it gives by itself.
    daemon.stop_with_timeout(Some(10)).await.expect("the daemon stops");
    assert_eq!(daemon.exit_code().await.expect("its state"), Some(0));
    let log = log(&daemon).await;
    assert!(log.contains("drained") && !log.contains("not-a-secret"), "{log}");
}
