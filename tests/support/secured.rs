//! A server with TLS and a role for each way to log in: what the suite of connections talks to.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use tokio::sync::OnceCell;
use webhookdb_notifications::demo::{PostgresOptions, StopMode, ThrowawayPostgres};

use super::own_cluster;

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
host    all mortal   127.0.0.1/32 scram-sha-256
hostssl all shown    127.0.0.1/32 cert
";

const ROLES: &str = "
    SET password_encryption = 'md5';
    CREATE ROLE hashed LOGIN REPLICATION PASSWORD 'pass/wörd';
    SET password_encryption = 'scram-sha-256';
    CREATE ROLE clear LOGIN REPLICATION PASSWORD 'pass/wörd';
    CREATE ROLE scram LOGIN REPLICATION PASSWORD 'pass/wörd';
    CREATE ROLE mortal LOGIN PASSWORD 'pass/wörd';
    CREATE ROLE shown LOGIN REPLICATION;
    CREATE ROLE nowhere LOGIN REPLICATION PASSWORD 'pass/wörd';";

/// The server, and the directory with the clients' PEM files.
pub(crate) struct Secured {
    server: Arc<ThrowawayPostgres>,
    files: tempfile::TempDir,
}

impl Secured {
    /// One for all tests of the process.
    pub(crate) async fn shared() -> &'static Self {
        static SHARED: OnceCell<Secured> = OnceCell::const_new();
        SHARED.get_or_init(Self::create).await
    }

    async fn create() -> Self {
        let server = own_cluster(PostgresOptions::default().set("ssl_ca_file", "client-root.pem"));
        let files = tempfile::tempdir().expect("a directory");
        make_certificates(&server, files.path());
        let client = server.connect("postgres").await.expect("the server answers");
        client.batch_execute(ROLES).await.expect("the roles are made");
        client.batch_execute("ALTER SYSTEM SET ssl = on").await.expect("ssl is on from the next start");
        let hba = server.data_directory().join("pg_hba.conf");
        fs::write(&hba, HBA).expect("pg_hba.conf is written");
        super::cluster::restart(&server, StopMode::Fast).await;
        Self { server, files }
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

    /// A URL by way of the Unix socket.
    pub(crate) fn url_of_socket(&self, role: &str, parameters: &str) -> String {
        let directory = self.server.socket_directory().to_str().expect("a path").replace('/', "%2F");
        format!("postgres://{role}@{directory}:{}/postgres?{parameters}", self.server.port())
    }
}

/// A root; a certificate of its for the host `localhost`, which the server shows; another root; a client's certificate.
fn make_certificates(server: &ThrowawayPostgres, files: &Path) {
    let (root_key, other_key) = (key(), key());
    let root = authority("the root");
    fs::write(files.join("root.pem"), root.self_signed(&root_key).expect("a root").pem()).expect("written");
    fs::write(files.join("other.pem"), authority("another root").self_signed(&other_key).expect("a root").pem())
        .expect("written");
    let issuer = Issuer::new(root, root_key);

    let server_key = key();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a host name");
    let certificate = params.signed_by(&server_key, &issuer).expect("a certificate").pem();
    fs::write(files.join("server.pem"), &certificate).expect("written");
    let data = server.data_directory();
    write_for_server(&data, "server.crt", &certificate);
    write_for_server(&data, "server.key", &server_key.serialize_pem());
    write_for_server(&data, "client-root.pem", &fs::read_to_string(files.join("root.pem")).expect("read"));

    let client_key = key();
    let mut params = CertificateParams::new(Vec::new()).expect("no host name");
    params.distinguished_name.push(rcgen::DnType::CommonName, "shown");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params.signed_by(&client_key, &issuer).expect("a certificate").pem();
    fs::write(files.join("client.pem"), certificate).expect("written");
    fs::write(files.join("client.key"), client_key.serialize_pem()).expect("written");
    fs::set_permissions(files.join("client.key"), fs::Permissions::from_mode(0o600)).expect("private");
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).expect("no host name");
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params
}

/// Owned by who owns the data directory, and private: the server insists.
fn write_for_server(data: &Path, name: &str, content: &str) {
    let (path, owner) = (data.join(name), fs::metadata(data).expect("the data directory"));
    fs::write(&path, content).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("private");
    chown(&path, Some(owner.uid()), Some(owner.gid())).expect("owned by the server");
}
