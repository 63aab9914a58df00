//! A network of a test's own: nothing in it but loopback, no way out, and a resolver that the test itself answers for.

use std::os::unix::fs::MetadataExt;
use std::process::Stdio;

use tokio::process::Command;

/// Set where this process is in such a network already.
const INSIDE: &str = "WEBHOOKDB_TEST_NETWORK";

/// Names come from the test's name server alone, whatever the machine's own resolver is.
const RESOLV_CONF: &str = "nameserver 127.0.0.1\noptions timeout:5 attempts:2\n";
const NSSWITCH_CONF: &str = "passwd: files\ngroup: files\nhosts: files dns\n";

/// Run with the privileges of the new network: loopback comes up, the two files take the place of the machine's, and any
/// account may answer on port 53. `$1`: where the files are; `$2`: the account to go on as, if not root's; then the command.
const ENTER: &str = r#"
    PATH=$PATH:/usr/sbin:/sbin
    directory=$1 account=$2
    shift 2
    ip link set lo up
    mount --bind "$directory/resolv.conf" /etc/resolv.conf
    [ ! -e /etc/nsswitch.conf ] || mount --bind "$directory/nsswitch.conf" /etc/nsswitch.conf
    echo 0 >/proc/sys/net/ipv4/ip_unprivileged_port_start || [ "$account" = 0 ]
    if [ "$account" = 0 ]; then exec "$@"; fi
    exec unshare --user --map-user="$account" -- "$@"
"#;

/// Whether this process is in a network of its own. Where it isn't, the test of this name (`suite::test`) is run again in one,
/// and fails here if it fails there: the caller is done.
pub(crate) async fn is_own(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let files = tempfile::tempdir().expect("a directory");
    std::fs::write(files.path().join("resolv.conf"), RESOLV_CONF).expect("written");
    std::fs::write(files.path().join("nsswitch.conf"), NSSWITCH_CONF).expect("written");
    let account = std::fs::metadata(files.path()).expect("the directory").uid();
    let mut command = Command::new("unshare");
    // Whoever is not root becomes it in a user namespace first, and itself again in a second one: Postgres runs as no root.
    command.args(if account == 0 { &["--net", "--mount"][..] } else { &["--map-root-user", "--net", "--mount"] });
    command.args(["--", "sh", "-euc", ENTER, "sh"]).arg(files.path()).arg(account.to_string());
    command.arg(std::env::current_exe().expect("this program")).args(["--exact", test, "--nocapture"]);
    command.env(INSIDE, "1").stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.expect("unshare, of util-linux");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(
        output.status.success() && said.contains("1 passed"),
        "in a network of its own (which takes root or user namespaces, and ip of iproute2):\n{said}"
    );
    false
}
