//! Old minor versions of Postgres whose logical decoding is known to be wrong.

use std::ops::Range;

/// A bug of the server, and the versions (`server_version_num`) that have it.
struct KnownBug {
    what: &'static str,
    versions: &'static [Range<i32>],
}

/// From Postgres's release notes.
///
/// - 14.18, 15.13, 16.9 and 17.5 (2025-05-08) distribute a transaction's cache invalidations to those that are in progress
///   (commit 4909b38af0 on the main branch). Before, a transaction that wrote a table while it was published was decoded by
///   a stale cache, and so was what followed: changes were lost.
/// - 14.19, 15.14, 16.10 and 17.6 (2025-08-14) mend what that fix had brought: invalidations were distributed again and
///   again, until the walsender asked for more memory than it may have.
const KNOWN_BUGS: [KnownBug; 2] = [
    KnownBug {
        what: "loses changes of a table that is published while it is written",
        versions: &[140_000..140_018, 150_000..150_013, 160_000..160_009, 170_000..170_005],
    },
    KnownBug {
        what: "may fail to send its log (invalid memory alloc request size) where tables are altered under load",
        versions: &[140_018..140_019, 150_013..150_014, 160_009..160_010, 170_005..170_006],
    },
];

/// The oldest minor version of each major one without a known bug.
const SOUND: [i32; 4] = [140_019, 150_014, 160_010, 170_006];

/// What is known to be wrong with a server of this version, and the version that mends it.
#[must_use]
pub fn known_bug(version_num: i32) -> Option<(String, String)> {
    let bug = KNOWN_BUGS.iter().find(|bug| bug.versions.iter().any(|range| range.contains(&version_num)))?;
    let sound = SOUND.into_iter().find(|sound| sound / 10_000 == version_num / 10_000)?;
    let what = format!("Postgres {} {}", shown(version_num), bug.what);
    Some((what, format!("upgrade to {} or a later minor version: a restart with the new programs", shown(sound))))
}

/// `15.4` for 150004.
fn shown(version_num: i32) -> String {
    format!("{}.{}", version_num / 10_000, version_num % 10_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_minor_version_is_told_with_the_one_that_mends_it() {
        for (version, words, sound) in [
            (140_000, "loses changes", "14.19"),
            (150_012, "loses changes", "15.14"),
            (160_009, "invalid memory alloc", "16.10"),
            (170_005, "invalid memory alloc", "17.6"),
        ] {
            let (what, remedy) = known_bug(version).expect("a bug");
            assert!(what.contains(words) && what.contains(&shown(version)), "{what}");
            assert!(remedy.contains(sound), "{remedy}");
        }
        for sound in SOUND.into_iter().chain([150_018, 180_000, 180_004, 190_000]) {
            assert_eq!(known_bug(sound), None, "{sound}");
        }
    }
}
