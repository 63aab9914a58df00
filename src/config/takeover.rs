//! What a running daemon takes over from a config file that was changed, and what waits for a restart.

use std::collections::BTreeSet;

use super::settings::{CatalogSettings, HttpSettings, LogSettings};
use super::{DeliverySettings, Settings, SourceSettings};

/// The outcome of reading the config file again.
#[derive(Clone, Debug)]
pub struct Takeover {
    /// What the daemon runs by from now on.
    pub settings: Settings,
    /// The keys that have changed and hold from now on.
    pub applied: Vec<String>,
    /// The keys that have changed and hold after a restart only.
    pub restart: Vec<String>,
}

/// The keys of `[delivery]` that attempts to come can go by. The others are the sizes of what was laid out at the start, or what a
/// session has begun with.
const LIVE: [&str; 9] = [
    "timeout",
    "max_attempts",
    "give_up_after",
    "allow_networks",
    "allow_http",
    "ca_file",
    "retry_base",
    "retry_cap",
    "grace",
];

impl Settings {
    /// These settings with what can be taken over of `new` while the daemon runs.
    #[must_use]
    pub fn taking_over(&self, new: &Self) -> Takeover {
        let (mut applied, mut restart) = (Vec::new(), Vec::new());
        restart.extend(changed("[catalog]", &self.catalog.differences(&new.catalog)));
        restart.extend(source_changes(&self.sources, &new.sources));
        let delivery = self.delivery.differences(&new.delivery);
        let (live, fixed): (Vec<_>, Vec<_>) = delivery.into_iter().partition(|(key, _)| LIVE.contains(key));
        applied.extend(changed("[delivery]", &live));
        restart.extend(changed("[delivery]", &fixed));
        restart.extend(changed("[http]", &self.http.differences(&new.http)));
        let log = [("level", self.log.level != new.log.level)];
        applied.extend(changed("[log]", &log));
        restart.extend(changed("[log]", &self.log.fixed_differences(&new.log)));
        let mut settings = self.clone();
        settings.log.level.clone_from(&new.log.level);
        settings.delivery = self.delivery.with_live(&new.delivery);
        Takeover { settings, applied, restart }
    }
}

/// A key, and whether it has changed.
type Difference = (&'static str, bool);

fn changed(section: &str, differences: &[Difference]) -> Vec<String> {
    differences.iter().filter(|(_, differs)| *differs).map(|(key, _)| format!("{section} {key}")).collect()
}

/// Sources are told apart by name; one that is new or gone is named as a whole.
fn source_changes(old: &[SourceSettings], new: &[SourceSettings]) -> Vec<String> {
    let names: BTreeSet<&str> = old.iter().chain(new).map(|source| source.name.as_str()).collect();
    let find = |sources: &'_ [SourceSettings], name: &str| sources.iter().find(|source| source.name == name).cloned();
    let changes = names.into_iter().flat_map(|name| {
        let section = format!("[[source]] {name}");
        match (find(old, name), find(new, name)) {
            (Some(old), Some(new)) => changed(&format!("{section}:"), &old.differences(&new)),
            _ => vec![section],
        }
    });
    changes.collect()
}

// Each takes its settings apart without a `..`, so that no key to come can be left out.

impl CatalogSettings {
    fn differences(&self, new: &Self) -> Vec<Difference> {
        let Self { url, schema, keys } = new;
        vec![
            ("url", *url != self.url),
            ("schema", *schema != self.schema),
            ("encryption_key and old_encryption_keys", *keys != self.keys),
        ]
    }
}

impl SourceSettings {
    fn differences(&self, new: &Self) -> Vec<Difference> {
        let Self { name: _, url, slot, publication, organizations, publish, replica_identity, primary_url, failover } =
            new;
        vec![
            ("url", *url != self.url),
            ("slot", *slot != self.slot),
            ("publication", *publication != self.publication),
            ("organizations", *organizations != self.organizations),
            ("publish", *publish != self.publish),
            ("replica_identity", *replica_identity != self.replica_identity),
            ("primary_url", *primary_url != self.primary_url),
            ("failover", *failover != self.failover),
        ]
    }
}

impl DeliverySettings {
    fn differences(&self, new: &Self) -> Vec<Difference> {
        let Self {
            timeout,
            max_attempts,
            give_up_after,
            concurrency,
            max_in_flight,
            memory,
            allow_networks,
            allow_http,
            ca_file,
            retry_base,
            retry_cap,
            grace,
            retention,
            disable_after,
            max_pending,
            when_full,
        } = new;
        vec![
            ("timeout", *timeout != self.timeout),
            ("max_attempts", *max_attempts != self.max_attempts),
            ("give_up_after", *give_up_after != self.give_up_after),
            ("concurrency", *concurrency != self.concurrency),
            ("max_in_flight", *max_in_flight != self.max_in_flight),
            ("memory", *memory != self.memory),
            ("allow_networks", *allow_networks != self.allow_networks),
            ("allow_http", *allow_http != self.allow_http),
            ("ca_file", *ca_file != self.ca_file),
            ("retry_base", *retry_base != self.retry_base),
            ("retry_cap", *retry_cap != self.retry_cap),
            ("grace", *grace != self.grace),
            ("retention", *retention != self.retention),
            ("disable_after", *disable_after != self.disable_after),
            ("max_pending", *max_pending != self.max_pending),
            ("when_full", *when_full != self.when_full),
        ]
    }

    /// With the values of [`LIVE`] of `new`.
    fn with_live(&self, new: &Self) -> Self {
        Self {
            timeout: new.timeout,
            max_attempts: new.max_attempts,
            give_up_after: new.give_up_after,
            allow_networks: new.allow_networks.clone(),
            allow_http: new.allow_http,
            ca_file: new.ca_file.clone(),
            retry_base: new.retry_base,
            retry_cap: new.retry_cap,
            grace: new.grace,
            ..self.clone()
        }
    }
}

impl HttpSettings {
    fn differences(&self, new: &Self) -> Vec<Difference> {
        let Self { listen } = new;
        vec![("listen", *listen != self.listen)]
    }
}

impl LogSettings {
    fn fixed_differences(&self, new: &Self) -> Vec<Difference> {
        let Self { format, level: _ } = new;
        vec![("format", *format != self.format)]
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn settings(rest: &str) -> Settings {
        let text = format!("[catalog]\nurl = 'postgres://u:secret@h/d'\n{rest}");
        Settings::parse(Path::new("config.toml"), &text).expect("settings")
    }

    #[test]
    fn what_can_change_is_taken_over_and_what_cannot_is_named() {
        let old = settings("[[source]]\nname = 'a'\n[delivery]\nmemory = '64MiB'\n[log]\nlevel = 'info'\n");
        let text = "[[source]]\nname = 'a'\nslot = 'other'\n[[source]]\nname = 'b'\nslot = 'b'\nurl = 'postgres://u@h/e'\n\
                    [delivery]\nmemory = '32MiB'\ntimeout = '3s'\ngrace = '7s'\n[http]\nlisten = '127.0.0.1:1'\n\
                    [log]\nlevel = 'debug'\nformat = 'json'\n";
        let new = settings(text);
        let took = old.taking_over(&new);
        assert_eq!(took.applied, ["[delivery] timeout", "[delivery] grace", "[log] level"]);
        let restart = ["[[source]] a: slot", "[[source]] b", "[delivery] memory", "[http] listen", "[log] format"];
        assert_eq!(took.restart, restart);
        assert_eq!(took.settings.delivery().timeout(), new.delivery().timeout());
        assert_eq!(took.settings.delivery().memory(), old.delivery().memory());
        // What waits for a restart is named again the next time, and what was taken over is not.
        let again = took.settings.taking_over(&new);
        assert_eq!((again.applied.len(), again.restart.len()), (0, restart.len()));
    }

    #[test]
    fn every_key_that_is_taken_over_is_one_that_may_be() {
        let (old, new) = (
            settings(""),
            settings(
                "[delivery]\ntimeout = '1s'\nmax_attempts = 1\ngive_up_after = '1h'\n\
            allow_networks = ['10.0.0.0/8']\nallow_http = true\nretry_base = '2s'\nretry_cap = '2h'\ngrace = '1s'\n",
            ),
        );
        let took = old.taking_over(&new);
        // All but the file of further roots, which would have to exist.
        assert_eq!(took.applied.len(), LIVE.len() - 1);
        assert_eq!(took.settings, new);
    }
}
