//! The nearest known name for one that is misspelt.

/// Beyond this length a name is no misspelling of ours, and comparing it would cost time without end.
const NAME_LENGTH_MAX: usize = 40;

/// The known name nearest to this one, where no more than every third letter differs.
pub(super) fn suggest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    if name.len() > NAME_LENGTH_MAX {
        return None;
    }
    let nearest = known.map(|known| (distance(name, known), known)).min_by_key(|(distance, _)| *distance);
    nearest.filter(|(distance, known)| distance * 3 <= known.len().max(3)).map(|(_, known)| known)
}

/// How many letters have to be put in, taken out or replaced (Levenshtein's distance).
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.chars().count()).collect();
    for (above, left) in left.chars().enumerate() {
        let mut diagonal = above;
        let mut before = above + 1;
        for (right, cell) in right.chars().zip(row.iter_mut().skip(1)) {
            let replaced = diagonal + usize::from(!left.eq_ignore_ascii_case(&right));
            diagonal = *cell;
            *cell = replaced.min(diagonal + 1).min(before + 1);
            before = *cell;
        }
        if let Some(first) = row.first_mut() {
            *first = above + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 5] = ["timeout", "max_attempts", "memory", "url", "grace"];

    #[test]
    fn misspelt_names_find_the_nearest() {
        for (name, nearest) in [
            ("timout", Some("timeout")),
            ("time_out", Some("timeout")),
            ("Timeout", Some("timeout")),
            ("max_atempt", Some("max_attempts")),
            ("uri", Some("url")),
            ("memroy", Some("memory")),
            ("retries", None),
            ("", None),
        ] {
            assert_eq!(suggest(name, KNOWN.into_iter()), nearest, "{name}");
        }
        assert_eq!(suggest(&"timeout".repeat(1000), KNOWN.into_iter()), None);
    }

    #[test]
    fn the_distance_counts_letters() {
        for (left, right, expected) in
            [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("same", "same", 0)]
        {
            assert_eq!(distance(left, right), expected, "{left} {right}");
        }
    }
}
