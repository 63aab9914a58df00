//! What the tests stand on: containers of images that `scripts/test-container` has made, on a network of each test's own.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use testcontainers::core::{CgroupnsMode, ExecCommand};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, ContainerRequest, GenericImage, ImageExt};

/// How long a condition may take to come true before a test fails: far more than it takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// How often a condition that cannot announce itself is looked at.
const POLL: Duration = Duration::from_millis(100);

/// The key of every subscription, and the receiver's.
pub const KEY: &str = "whsec_bm90IGEgc2VjcmV0LCBhbmQgbG9uZyBlbm91Z2ggZm9yIG9uZQ==";

/// A running container; removed when dropped.
pub type Container = ContainerAsync<GenericImage>;

/// What a command in a container left behind.
#[derive(Debug)]
pub struct Output {
    pub command: String,
    pub status: i64,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// Its stdout; fails the test where the command failed.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.status, 0, "{self:#?}");
        self.stdout
    }
}

/// Runs a command in a container, to its end.
pub async fn run(container: &Container, command: &[&str]) -> Output {
    let mut result = container.exec(ExecCommand::new(command.iter().copied())).await.expect("the engine runs it");
    let stdout = result.stdout_to_vec().await.expect("its stdout");
    let stderr = result.stderr_to_vec().await.expect("its stderr");
    // The streams may end a moment before the engine knows of the end.
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match result.exit_code().await.expect("its state") {
            Some(status) => break status,
            None => assert!(Instant::now() < deadline, "{command:?} does not end"),
        }
        tokio::time::sleep(POLL).await;
    };
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Output { command: command.join(" "), status, stdout: text(&stdout), stderr: text(&stderr) }
}

/// Runs a line of shell.
pub async fn shell(container: &Container, line: &str) -> Output {
    run(container, &["sh", "-c", line]).await
}

/// Waits until this is so, and returns what was seen then.
pub async fn wait_until<T: Debug>(what: &str, mut look: impl AsyncFnMut() -> T, wanted: impl Fn(&T) -> bool) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = look().await;
        if wanted(&seen) {
            return seen;
        }
        assert!(Instant::now() < deadline, "not {what}: {seen:#?}");
        tokio::time::sleep(POLL).await;
    }
}

/// All that a container has printed.
pub async fn log(container: &Container) -> String {
    let stdout = container.stdout_to_vec().await.expect("its stdout");
    let stderr = container.stderr_to_vec().await.expect("its stderr");
    String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned()
}

/// A Postgres with a table of WebhookDB's, and a receiver, on a network of their own.
pub struct Stage {
    network: String,
    pub postgres: Container,
    pub receiver: Container,
}

impl Stage {
    pub async fn new(major: &str) -> Self {
        let network = unique("stage");
        let postgres = image("webhookdb-test/postgres", major)
            .with_cmd(["postgres", "-c", "wal_level=logical"])
            .with_env_var("POSTGRES_USER", "whdb")
            .with_env_var("POSTGRES_PASSWORD", "not-a-secret")
            .with_env_var("POSTGRES_DB", "webhookdb");
        let table = include_bytes!("../../sql/demo/charges.sql").to_vec();
        let postgres = postgres.with_copy_to("/docker-entrypoint-initdb.d/charges.sql", table);
        let postgres = start(postgres, &network, "postgres").await;
        let receiver = image("webhookdb-test/program", "latest")
            .with_cmd(["demo", "--receive", "0.0.0.0:8000"])
            .with_env_var("WEBHOOKDB_VERIFY_WITH", KEY);
        let receiver = start(receiver, &network, "receiver").await;
        let stage = Self { network, postgres, receiver };
        stage.wait_for_postgres().await;
        stage
    }

    /// The database's URL, for the other containers.
    pub fn database_url(&self) -> String {
        format!("postgres://whdb:not-a-secret@{}-postgres/webhookdb", self.network)
    }

    /// The receiver's URL, for the other containers.
    pub fn receiver_url(&self) -> String {
        format!("http://{}-receiver:8000/", self.network)
    }

    /// A config file with this in `[catalog]` and this level of the log.
    pub fn config(&self, catalog: &str, level: &str) -> String {
        format!(
            "[catalog]\n{catalog}\n[[source]]\nname = \"main\"\n\
             [delivery]\nallow_networks = [\"10.0.0.0/8\", \"172.16.0.0/12\", \"192.168.0.0/16\"]\n\
             [http]\nlisten = \"0.0.0.0:8428\"\n[log]\nlevel = \"{level}\"\n"
        )
    }

    /// What an operator types once, in this container, where the program is called so.
    pub async fn prepare(&self, container: &Container, program: &str) {
        for arguments in [
            "setup",
            "org create 'Acme Corp'",
            "integrations add --org acme_corp --service stripe_charge_v1 --table stripe_charge_v1_fdcc",
        ] {
            shell(container, &format!("{program} {arguments}")).await.ok();
        }
        self.subscribe(container, program).await;
    }

    /// One subscription more.
    pub async fn subscribe(&self, container: &Container, program: &str) {
        let receiver = self.receiver_url();
        let create = format!("notification create --integration stripe_charge_v1 --url {receiver} --secret {KEY}");
        shell(container, &format!("{program} {create}")).await.ok();
    }

    /// Waits until the server answers.
    pub async fn wait_for_postgres(&self) {
        let ask = async || run(&self.postgres, &["pg_isready", "-h", "127.0.0.1", "-U", "whdb"]).await;
        wait_until("answering", ask, |output| output.status == 0).await;
    }

    /// Runs a statement, whose single value is returned.
    pub async fn sql(&self, statement: &str) -> String {
        let command = ["psql", "-h", "/tmp", "-U", "whdb", "-d", "webhookdb", "-qAtXc", statement];
        run(&self.postgres, &command).await.ok().trim().to_owned()
    }

    /// A further charge.
    pub async fn insert(&self, id: &str) {
        let insert = "INSERT INTO stripe_charge_v1_fdcc (stripe_id, amount, data) VALUES";
        self.sql(&format!("{insert} ('{id}', 100, '{{}}')")).await;
    }

    /// Waits until a verified notification of this kind and row is there.
    pub async fn wait_for_arrival(&self, kind: &str, id: &str) {
        let arrival = format!("{kind} {id}  ✓ verified");
        wait_until(&arrival, async || log(&self.receiver).await, |log| log.contains(&arrival)).await;
    }

    /// The program in a container of its own, with this config file.
    pub async fn program(&self, name: &str, config: &str, change: impl FnOnce(Request) -> Request) -> Container {
        let program = image("webhookdb-test/program", "latest")
            .with_env_var("WEBHOOKDB_CONFIG", "/etc/webhookdb/config.toml")
            .with_copy_to("/etc/webhookdb/config.toml", config.as_bytes().to_vec());
        start(change(program), &self.network, name).await
    }

    /// A Debian that boots systemd; the package is in `/root`.
    pub async fn machine(&self) -> Container {
        let package = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../target/containers/webhookdb-notifications.deb");
        // As much as systemd and the unit's sandbox need. CAP_SYS_RESOURCE they can do without, and not every engine may give it.
        let machine = image("webhookdb-test/systemd", "latest")
            .with_cap_add("ALL")
            .with_cap_drop("SYS_RESOURCE")
            .with_security_opt("seccomp=unconfined")
            .with_security_opt("apparmor=unconfined")
            .with_cgroupns_mode(CgroupnsMode::Private)
            .with_copy_to("/root/webhookdb-notifications.deb", package);
        let machine = start(machine, &self.network, "machine").await;
        let booted = async || run(&machine, &["systemctl", "is-system-running"]).await.stdout;
        wait_until("booted", booted, |state| state.trim() == "running").await;
        machine
    }
}

/// A container to be.
pub type Request = ContainerRequest<GenericImage>;

fn image(name: &str, tag: &str) -> Request {
    GenericImage::new(name, tag).with_startup_timeout(PATIENCE)
}

/// Starts a container, which the others on the network know as `NETWORK-NAME`.
async fn start(request: Request, network: &str, name: &str) -> Container {
    let request = request.with_network(network).with_container_name(format!("{network}-{name}"));
    request.start().await.unwrap_or_else(|error| {
        panic!(
            "{name} was not started ({error}): these tests are run by scripts/test-container, which makes their images"
        )
    })
}

/// A name that nothing else on this engine has.
pub fn unique(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("whdb-{what}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}
