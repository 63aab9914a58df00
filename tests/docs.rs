//! The documentation is true as far as a program can tell: links and files exist, messages are the program's, samples run.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::fixtures::upsert_charge;
use crate::support::{Received, Receiver, Site};

/// Every page, by its path from the repository's root.
fn pages() -> Vec<(PathBuf, String)> {
    let mut paths: Vec<PathBuf> =
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "tests/README.md"]
            .map(PathBuf::from)
            .to_vec();
    paths.extend(files_below(Path::new("docs"), "md"));
    assert!(paths.len() > 10, "{paths:?}");
    paths.into_iter().map(|path| (path.clone(), read(&path))).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files below a directory of the repository that have this extension.
fn files_below(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(directory)).expect("a directory");
    let paths = entries.map(|entry| directory.join(entry.expect("an entry").file_name()));
    paths
        .flat_map(|path| match root().join(&path).is_dir() {
            true => files_below(&path, extension),
            false => vec![path],
        })
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect()
}

/// A page without its fenced blocks, whose brackets and backticks are no Markdown.
fn prose(page: &str) -> String {
    page.split("```").step_by(2).collect()
}

/// Where the links of a page lead.
fn links(page: &str) -> Vec<String> {
    let targets = prose(page).replace('\n', " ");
    let targets = targets.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()));
    targets.filter(|target| !target.starts_with("http")).collect()
}

/// Inline code, across the ends of lines.
fn code_spans(page: &str) -> Vec<String> {
    let one_line = |span: &str| span.split_whitespace().collect::<Vec<_>>().join(" ");
    prose(page)
        .split("\n\n")
        .flat_map(|paragraph| paragraph.split('`').skip(1).step_by(2).map(one_line).collect::<Vec<_>>())
        .collect()
}

/// What a heading is called in links, as GitHub has it.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let kept = |c: char| c.is_alphanumeric() || c == ' ' || c == '-' || c == '_';
    headings
        .map(|heading| heading.to_lowercase().chars().filter(|c| kept(*c)).collect::<String>().replace(' ', "-"))
        .collect()
}

#[test]
fn links_lead_to_what_is_there() {
    let mut followed = 0;
    for (path, page) in pages() {
        for link in links(&page) {
            let (file, anchor) =
                link.split_once('#').map_or((link.as_str(), None), |(file, anchor)| (file, Some(anchor)));
            let target = if file.is_empty() { path.clone() } else { path.parent().expect("a directory").join(file) };
            assert!(root().join(&target).exists(), "{} links to {link}", path.display());
            if let Some(anchor) = anchor {
                assert!(
                    anchors(&read(&target)).contains(anchor),
                    "{} links to {link}: no such heading",
                    path.display()
                );
            }
            followed += 1;
        }
    }
    assert!(followed > 40, "{followed} links were found");
}

#[test]
fn files_that_are_named_are_there() {
    let mut named = 0;
    for (path, page) in pages() {
        for span in code_spans(&page) {
            let is_path = |span: &str| span.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
            let directories = ["deploy/", "docs/", "fuzz/", "scripts/", "sql/", "src/", "systemd/", "tests/"];
            if directories.iter().any(|directory| span.starts_with(directory)) && is_path(&span) {
                assert!(root().join(&span).exists(), "{} names {span}", path.display());
                named += 1;
            }
        }
    }
    assert!(named > 20, "{named} files were found");
}

/// The program's source as it would print its texts: strings of several lines joined, quotes without their backslashes.
fn source() -> String {
    let files = files_below(Path::new("src"), "rs");
    let text: String = files.iter().map(|file| read(file)).collect();
    let mut joined = String::new();
    for (nth, piece) in text.split("\\\n").enumerate() {
        joined.push_str(if nth == 0 { piece } else { piece.trim_start() });
    }
    joined.replace("\\\"", "\"")
}

/// What a page says that the program says: code of several words that is neither a command nor a setting.
fn messages(page: &str) -> Vec<String> {
    let others = [
        "webhookdb ",
        "notification ",
        "setup ",
        "integrations ",
        "GRANT ",
        "ALTER ",
        "SELECT ",
        "[",
        "/",
        "{",
        "UPDATE ",
        "when_full =",
        "replica_identity =",
        "publish =",
        "hot_standby_feedback =",
        "url_file =",
        "CREATE ",
        "promtool ",
        "pg_dump ",
        "--",
    ];
    let spans = code_spans(page).into_iter().filter(|span| span.contains(' '));
    spans.filter(|span| !others.iter().any(|other| span.starts_with(other)) && !span.contains(" = ")).collect()
}

#[test]
fn messages_are_the_programs_own() {
    let source = source();
    let mut checked = 0;
    for page in [
        "docs/operators/failures.md",
        "docs/operators/monitoring.md",
        "docs/operators/upgrade.md",
        "docs/operators/backup.md",
    ] {
        for message in messages(&read(Path::new(page))) {
            // A name stands for "…"; a cause follows a colon.
            for piece in
                message.split('…').flat_map(|piece| piece.split(": ")).map(str::trim).filter(|piece| piece.len() > 5)
            {
                assert!(source.contains(piece), "{page}: the program does not say {piece:?}, of {message:?}");
                checked += 1;
            }
        }
    }
    assert!(checked > 80, "{checked} pieces were found");
}

#[test]
fn reasons_are_the_metrics_own() {
    let (page, source) = (read(Path::new("docs/operators/failures.md")), source());
    let tables = page.split("\n\n").filter(|table| table.starts_with("| message | `reason` |"));
    let cells = tables.flat_map(|table| table.lines().skip(2)).filter_map(|line| line.split('|').nth(2));
    let labels: BTreeSet<String> = cells.flat_map(code_spans).collect();
    assert!(labels.len() > 25, "{labels:?}");
    for label in labels {
        assert!(source.contains(&format!("\"{label}\"")), "there is no reason {label}");
    }
}

/// A sample of a language: its fence, the file that it is written to, the program that runs it, and what asks it.
const SAMPLES: [(&str, &str, &str, &str); 3] = [
    (
        "python",
        "sample.py",
        "python3",
        "import json, sys\nfor line in sys.stdin:\n    q = json.loads(line)\n    print(json.dumps(verified(q['headers'], q['body'].encode())))",
    ),
    (
        "js",
        "sample.mjs",
        "node",
        "import { createInterface } from 'node:readline';\nfor await (const line of createInterface({ input: process.stdin })) {\n  \
         const q = JSON.parse(line);\n  console.log(verified(q.headers, Buffer.from(q.body)));\n}",
    ),
    (
        "ruby",
        "sample.rb",
        "ruby",
        "require 'json'\nSTDIN.each_line { |line| q = JSON.parse(line); puts verified?(q['headers'], q['body']) }",
    ),
];

#[tokio::test]
async fn the_subscribers_samples_verify_what_is_sent_and_nothing_else() {
    let site = Site::new("samples").await;
    let receiver = Receiver::start_with_secret("whsec_d2ViaG9va19zZWNyZXQxMjN3ZWJob29rX3NlY3JldA==").await;
    let (secret, url) = ("whsec_d2ViaG9va19zZWNyZXQxMjN3ZWJob29rX3NlY3JldA==", receiver.url("/"));
    let create = ["notification", "create", "--integration=stripe_charge_v1", "--secret", secret, "--url", &url];
    site.webhookdb.run(&create).await.ok();
    let _daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    let request = receiver.wait_for(1).await[0].clone();
    let page = read(Path::new("docs/subscribers.md"));
    let mut ran = 0;
    for (fence, file, program, driver) in SAMPLES {
        let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !found.is_ok_and(|status| status.success()) {
            continue;
        }
        let sample =
            page.split(&format!("```{fence}\n")).nth(1).and_then(|rest| rest.split("```").next()).expect(fence);
        let sample = sample.replace("whsec_d2ViaG9va19zZWNyZXQxMjM=", secret);
        assert!(sample.contains(secret), "the sample shows the key in another way: {sample}");
        std::fs::write(site.webhookdb.directory().join(file), format!("{sample}\n{driver}\n")).expect("the sample");
        let verdicts = judged(program, &site.webhookdb.directory().join(file), &request);
        assert_eq!(verdicts, ["true", "false", "false", "true"], "{fence}");
        ran += 1;
    }
    assert!(
        ran > 0,
        "none of the samples could be run: neither node nor python3 is here, see scripts/install-test-tools"
    );
}

/// What a sample says of the notification as it came, of another body, of an old timestamp, and of two signatures of which one fits.
fn judged(program: &str, file: &Path, request: &Received) -> Vec<String> {
    use std::io::Write as _;
    let header = |name: &str| request.header(name).to_owned();
    let question = |timestamp: &str, signature: &str, body: &str| {
        let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
        let values = [header("webhook-id"), timestamp.to_owned(), signature.to_owned()];
        let headers: Value = names.into_iter().map(str::to_owned).zip(values.map(Value::from)).collect();
        format!("{}\n", json!({"headers": headers, "body": body}))
    };
    let (body, at, signature) = (
        String::from_utf8(request.body.to_vec()).expect("UTF-8"),
        header("webhook-timestamp"),
        header("webhook-signature"),
    );
    let old = (at.parse::<u64>().expect("seconds") - 3_600).to_string();
    let input = [
        question(&at, &signature, &body),
        question(&at, &signature, &body.replace("ch_1", "ch_2")),
        question(&old, &signature, &body),
        question(&at, &format!("v1,AAAA {signature}"), &body),
    ];
    let mut command = Command::new(program);
    let mut child = command.arg(file).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the sample runs");
    child.stdin.take().expect("stdin").write_all(input.concat().as_bytes()).expect("the sample reads");
    let output = child.wait_with_output().expect("the sample ends");
    String::from_utf8(output.stdout).expect("UTF-8").lines().map(str::to_owned).collect()
}
