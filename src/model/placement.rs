//! Which source holds the tables of which organization, as far as the config says.

/// What each source says about whose tables it holds.
#[derive(Clone, Debug, Default)]
pub struct Placement {
    /// Source names in the config's order, each with the keys of its organizations; no keys: it may hold anybody's.
    sources: Vec<(String, Vec<String>)>,
}

impl Placement {
    /// Of these sources, each with the keys of its organizations.
    #[must_use]
    pub const fn new(sources: Vec<(String, Vec<String>)>) -> Self {
        Self { sources }
    }

    /// Whether there is a source of this name.
    #[must_use]
    pub fn knows(&self, source: &str) -> bool {
        self.sources.iter().any(|(name, _)| name == source)
    }

    /// The sources that may hold the tables of the organization with this key.
    #[must_use]
    pub fn claimants(&self, organization: &str) -> Vec<&str> {
        let claims = |keys: &[String]| keys.is_empty() || keys.iter().any(|key| key == organization);
        self.sources.iter().filter(|(_, keys)| claims(keys)).map(|(name, _)| name.as_str()).collect()
    }

    /// The one source that may hold the organization's tables; none where there are several, or none.
    #[must_use]
    pub fn only_source_of(&self, organization: &str) -> Option<&str> {
        match self.claimants(organization).as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placement(sources: &[(&str, &[&str])]) -> Placement {
        let owned = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
        Placement::new(sources.iter().map(|(name, keys)| ((*name).to_owned(), owned(keys))).collect())
    }

    #[test]
    fn a_source_without_a_list_may_hold_anybodys_tables() {
        assert_eq!(placement(&[("a", &[])]).only_source_of("acme"), Some("a"));
        let both = placement(&[("a", &[]), ("b", &["acme"])]);
        assert_eq!(both.claimants("acme"), ["a", "b"]);
        assert_eq!((both.only_source_of("acme"), both.only_source_of("beta")), (None, Some("a")));
    }

    #[test]
    fn an_organization_in_no_list_is_nowhere() {
        let placement = placement(&[("a", &["acme"]), ("b", &["beta"])]);
        assert_eq!(placement.only_source_of("beta"), Some("b"));
        assert_eq!(placement.only_source_of("gamma"), None);
        assert!(placement.knows("b") && !placement.knows("c"));
    }
}
