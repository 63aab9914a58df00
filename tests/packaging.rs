//! What `make install` installs, and that nothing of it is left afterwards.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// The files that are installed below the prefix, but for the docs and the man pages.
const FILES: [&str; 11] = [
    "bin/webhookdb-notifications",
    "lib/systemd/system/webhookdb-notifications.service",
    "lib/sysusers.d/webhookdb-notifications.conf",
    "share/bash-completion/completions/webhookdb-notifications",
    "share/doc/webhookdb-notifications/CHANGELOG.md",
    "share/doc/webhookdb-notifications/LICENSE",
    "share/doc/webhookdb-notifications/README.md",
    "share/doc/webhookdb-notifications/config.example.toml",
    "share/fish/vendor_completions.d/webhookdb-notifications.fish",
    "share/webhookdb-notifications/sql/setup-replication.sql",
    "share/zsh/site-functions/_webhookdb-notifications",
];

/// Where the docs are below the prefix, so that the README's links to them hold.
const DOCS: &str = "share/doc/webhookdb-notifications/docs/";

/// Where the man pages are, and some of them.
const PAGES: &str = "share/man/man1/";
const SOME_PAGES: [&str; 3] =
    ["webhookdb-notifications.1", "webhookdb-notifications-serve.1", "webhookdb-notifications-notification-create.1"];

fn make(arguments: &[&str]) {
    let mut command = Command::new("make");
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).env_remove("MAKEFLAGS").env_remove("MAKELEVEL");
    let output = command.output().expect("make");
    assert!(output.status.success(), "make {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Every file below a directory, named from there.
fn files(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
            } else {
                found.insert(path.strip_prefix(root).expect("below it").to_str().expect("UTF-8").to_owned());
            }
        }
    }
    found
}

#[test]
fn make_install_honours_destdir_and_prefix_and_make_uninstall_leaves_nothing() {
    let binary = format!("BINARY={}", env!("CARGO_BIN_EXE_webhookdb"));
    for prefix in ["/usr/local", "/opt/whdb"] {
        let root = tempfile::tempdir().expect("a directory");
        let destdir = format!("DESTDIR={}", root.path().display());
        let mut arguments = vec!["install", &destdir, &binary];
        let prefix_is = format!("prefix={prefix}");
        // The first is the default.
        if prefix != "/usr/local" {
            arguments.push(&prefix_is);
        }
        make(&arguments);
        let below = root.path().join(prefix.trim_start_matches('/'));
        let installed = files(&below);
        assert_eq!(files(root.path()).len(), installed.len(), "all is below the prefix: {:?}", files(root.path()));
        let docs = files(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/docs")))
            .into_iter()
            .map(|doc| format!("{DOCS}{doc}"));
        let pages: BTreeSet<String> = installed.iter().filter(|file| file.starts_with(PAGES)).cloned().collect();
        for page in SOME_PAGES {
            assert!(pages.contains(&format!("{PAGES}{page}")), "{pages:?}");
        }
        let expected: BTreeSet<String> = FILES.iter().map(ToString::to_string).chain(docs).chain(pages).collect();
        assert_eq!(installed, expected);
        let unit = std::fs::read_to_string(below.join(FILES[1])).expect("the unit");
        assert!(unit.contains(&format!("ExecStart={prefix}/bin/webhookdb-notifications ")), "{unit}");
        let version = Command::new(below.join(FILES[0])).arg("--version").output().expect("the program");
        assert!(version.status.success());
        arguments[0] = "uninstall";
        make(&arguments);
        assert!(files(root.path()).is_empty(), "{:?}", files(root.path()));
    }
}
