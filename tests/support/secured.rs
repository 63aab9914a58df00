//! A server with TLS and a role for each way to log in: what the suite of connections talks to.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::OnceCell;
use webhookdb_notifications::demo::{PostgresOptions, StopMode, ThrowawayPostgres};

use super::pki::{Authority, Issued, Subject};
use super::{PATIENCE, POLL, own_cluster};

/// The password of every role that has one. Percent-encoded in URLs.
pub(crate) const PASSWORD: &str = "pass/wörd";
const PASSWORD_IN_URL: &str = "pass%2Fw%C3%B6rd";

/// Who may log in how; `nowhere` is in no line.
const HBA: &str = "\
local   all postgres trust
host    all postgres 127.0.0.1/32 trust
host    all clear    127.0.0.1/32 password
host    all hashed   127.0.0.1/32 md5
host    all scram    127.0.0.1/32 scram-sha-256
host    all boss     127.0.0.1/32 scram-sha-256
hostssl all secret   127.0.0.1/32 scram-sha-256
hostnossl all plain  127.0.0.1/32 scram-sha-256
host    all mortal   127.0.0.1/32 scram-sha-256
hostssl all shown    127.0.0.1/32 cert
hostssl all twofold  127.0.0.1/32 scram-sha-256 clientcert=verify-ca
";

const ROLES: &str = "
    SET password_encryption = 'md5';
    CREATE ROLE hashed LOGIN REPLICATION PASSWORD 'pass/wörd';
    SET password_encryption = 'scram-sha-256';
    CREATE ROLE clear LOGIN REPLICATION PASSWORD 'pass/wörd';
    CREATE ROLE scram LOGIN REPLICATION PASSWORD 'pass/wörd';
    CREATE ROLE boss SUPERUSER LOGIN PASSWORD 'pass/wörd';
    CREATE ROLE secret LOGIN REPLICATION PASSWORD 'pass/wörd';
    CREATE ROLE plain LOGIN REPLICATION PASSWORD 'pass/wörd';
    CREATE ROLE twofold LOGIN REPLICATION PASSWORD 'pass/wörd';
    CREATE ROLE mortal LOGIN PASSWORD 'pass/wörd';
    CREATE ROLE shown LOGIN REPLICATION;
    CREATE ROLE nowhere LOGIN REPLICATION PASSWORD 'pass/wörd';";

/// The server, the authority of its certificate and of its clients', and the directory with the clients' PEM files.
pub(crate) struct Secured {
    server: Arc<ThrowawayPostgres>,
    root: Authority,
    files: tempfile::TempDir,
}

impl Secured {
    /// One for all tests of the process.
    pub(crate) async fn shared() -> &'static Self {
        static SHARED: OnceCell<Secured> = OnceCell::const_new();
        SHARED.get_or_init(Self::create).await
    }

    /// One for a test that gives it other certificates and settings.
    pub(crate) async fn own() -> Self {
        Self::create().await
    }

    async fn create() -> Self {
        let server = own_cluster(PostgresOptions::default().set("ssl_ca_file", "client-root.pem"));
        let files = tempfile::tempdir().expect("a directory");
        let root = Authority::new("the root");
        make_certificates(&server, files.path(), &root);
        let client = server.connect("postgres").await.expect("the server answers");
        client.batch_execute(ROLES).await.expect("the roles are made");
        client.batch_execute("ALTER SYSTEM SET ssl = on").await.expect("ssl is on from the next start");
        let hba = server.data_directory().join("pg_hba.conf");
        fs::write(&hba, HBA).expect("pg_hba.conf is written");
        super::cluster::restart(&server, StopMode::Fast).await;
        Self { server, root, files }
    }

    /// The server itself.
    pub(crate) fn cluster(&self) -> &Arc<ThrowawayPostgres> {
        &self.server
    }

    /// Who signed its certificate.
    pub(crate) fn root(&self) -> &Authority {
        &self.root
    }

    /// From now on it shows this certificate, kept under a name that none before it had.
    pub(crate) async fn show(&self, name: &str, shown: &Issued) {
        let (certificate, key) = (format!("{name}.crt"), format!("{name}.key"));
        write_for_server(&self.server.data_directory(), &certificate, &shown.chain);
        write_for_server(&self.server.data_directory(), &key, &shown.key);
        self.set(&[("ssl_cert_file", &certificate), ("ssl_key_file", &key)]).await;
    }

    /// Gives it other settings without a restart; new sessions have them when this returns. The server reads its certificates
    /// before it takes the next session in.
    pub(crate) async fn set(&self, settings: &[(&str, &str)]) {
        let client = self.server.connect("postgres").await.expect("the server answers");
        for (name, value) in settings {
            client.batch_execute(&format!("ALTER SYSTEM SET {name} = '{value}'")).await.expect("it is set");
        }
        client.batch_execute("SELECT pg_reload_conf()").await.expect("told");
        let deadline = Instant::now() + PATIENCE;
        for (name, value) in settings {
            while self.setting(name).await != *value {
                assert!(Instant::now() < deadline, "{name} is not {value}");
                tokio::time::sleep(POLL).await;
            }
        }
    }

    async fn setting(&self, name: &str) -> String {
        let client = self.server.connect("postgres").await.expect("the server answers");
        client.query_one("SELECT current_setting($1)", &[&name]).await.expect("a setting").get(0)
    }

    /// A PEM file by its name.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// A URL with the role's right password.
    pub(crate) fn url(&self, role: &str, parameters: &str) -> String {
        self.url_with(role, Some(PASSWORD_IN_URL), "127.0.0.1", parameters)
    }

    /// A URL to another name of the same host.
    pub(crate) fn url_at(&self, host: &str, role: &str, parameters: &str) -> String {
        self.url_with(role, Some(PASSWORD_IN_URL), host, parameters)
    }

    /// A URL with this password or none.
    pub(crate) fn url_with(&self, role: &str, password: Option<&str>, host: &str, parameters: &str) -> String {
        let password = password.map(|password| format!(":{password}")).unwrap_or_default();
        format!("postgres://{role}{password}@{host}:{}/postgres?{parameters}", self.server.port())
    }

    /// The parameters by which a client shows the certificate of this name.
    pub(crate) fn certificate(&self, name: &str) -> String {
        let (cert, key) = (self.file(&format!("{name}.pem")), self.file(&format!("{name}.key")));
        format!("sslcert={}&sslkey={}", cert.display(), key.display())
    }

    /// A URL by way of the Unix socket.
    pub(crate) fn url_of_socket(&self, role: &str, parameters: &str) -> String {
        let directory = self.server.socket_directory().to_str().expect("a path").replace('/', "%2F");
        format!("postgres://{role}@{directory}:{}/postgres?{parameters}", self.server.port())
    }
}

/// A root; a certificate of its for the host `localhost`, which the server shows; another root; clients' certificates.
fn make_certificates(server: &ThrowawayPostgres, files: &Path, root: &Authority) {
    let (other, data) = (Authority::new("another root"), server.data_directory());
    let shown = root.issue(Subject::server("localhost"));
    for (name, content) in [("root.pem", root.pem()), ("other.pem", other.pem()), ("server.pem", &shown.chain)] {
        fs::write(files.join(name), content).expect("written");
    }
    write_for_server(&data, "server.crt", &shown.chain);
    write_for_server(&data, "server.key", &shown.key);
    write_for_server(&data, "client-root.pem", root.pem());
    for (name, issued) in [
        ("client", root.issue(Subject::client("shown"))),
        ("expired", root.issue(Subject::client("shown").expired())),
        ("somebody", root.issue(Subject::client("somebody"))),
        ("stranger", other.issue(Subject::client("shown"))),
    ] {
        fs::write(files.join(format!("{name}.pem")), issued.chain).expect("written");
        let key = files.join(format!("{name}.key"));
        fs::write(&key, issued.key).expect("written");
        fs::set_permissions(key, fs::Permissions::from_mode(0o600)).expect("private");
    }
}

/// Owned by who owns the data directory, and private: the server insists.
fn write_for_server(data: &Path, name: &str, content: &str) {
    let (path, owner) = (data.join(name), fs::metadata(data).expect("the data directory"));
    fs::write(&path, content).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("private");
    chown(&path, Some(owner.uid()), Some(owner.gid())).expect("owned by the server");
}
