//! Which source the table of an integration is in where that is not recorded, and what is to be said where the config leaves it
//! open.

use std::collections::HashMap;

use super::{Integration, Snapshot};
use crate::model::Placement;

/// Tables that the config leaves without a source, or with several.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misplaced {
    /// No source claims the organization.
    #[error("organization {organization} is in no source of the config, so its tables are not published")]
    Nowhere {
        /// Its key.
        organization: String,
    },
    /// Several sources claim an organization that has integrations without a recorded source.
    #[error(
        "organization {organization} may be in source {}: its tables are published where they were already, and else nowhere",
        sources.join(" or ")
    )]
    Anywhere {
        /// Its key.
        organization: String,
        /// Their names.
        sources: Vec<String>,
    },
    /// The recorded source is gone from the config.
    #[error("integration {integration} is in source {source_name}, which the config does not have")]
    UnknownSource {
        /// Its opaque id.
        integration: String,
        /// The source's name.
        source_name: String,
    },
}

impl Misplaced {
    /// The key of the organization that it is about, where it is about one.
    #[must_use]
    pub fn organization(&self) -> Option<&str> {
        match self {
            Self::Nowhere { organization } | Self::Anywhere { organization, .. } => Some(organization),
            Self::UnknownSource { .. } => None,
        }
    }

    /// What the operator should do.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Nowhere { organization } => {
                format!("add \"{organization}\" to the organizations of the [[source]] that holds its tables")
            }
            Self::Anywhere { organization, .. } => format!(
                "name \"{organization}\" in the organizations of the [[source]] that holds its tables, and let no other \
                 [[source]] name it or leave its organizations empty"
            ),
            Self::UnknownSource { integration, source_name } => format!(
                "add source {source_name} to the config, or remove the integration: `webhookdb integrations remove \
                 {integration}`"
            ),
        }
    }
}

impl Snapshot {
    /// Notes what the config leaves open, and gives each integration without a recorded source the one where its organization
    /// is. Where that is open, a table that is published stays where it is: to take it out would lose changes.
    pub(super) fn place(&mut self, placement: &Placement) {
        self.misplaced = self.find_misplaced(placement);
        let live = self.relations.iter().filter(|relation| relation.state.is_live());
        let published: HashMap<&str, &str> =
            live.filter_map(|relation| Some((relation.integration.as_deref()?, relation.source.as_str()))).collect();
        for integration in self.integrations.iter_mut().filter(|integration| integration.source.is_none()) {
            let placed = placement.only_source_of(&integration.organization);
            let source = placed.or_else(|| published.get(integration.opaque_id.as_str()).copied());
            integration.source = source.map(str::to_owned);
        }
    }

    fn find_misplaced(&self, placement: &Placement) -> Vec<Misplaced> {
        let of_organization = self.organizations.iter().filter_map(|organization| {
            let key = &organization.key;
            let mut integrations = self.integrations.iter().filter(|integration| integration.organization == *key);
            match placement.claimants(key).as_slice() {
                [] => Some(Misplaced::Nowhere { organization: key.clone() }),
                [_] => None,
                several => integrations.any(|integration| integration.source.is_none()).then(|| Misplaced::Anywhere {
                    organization: key.clone(),
                    sources: several.iter().map(|source| (*source).to_owned()).collect(),
                }),
            }
        });
        let of_integration = self.integrations.iter().filter_map(|integration| {
            let Integration { opaque_id, source, .. } = integration;
            let source_name = source.clone().filter(|source| !placement.knows(source))?;
            Some(Misplaced::UnknownSource { integration: opaque_id.clone(), source_name })
        });
        of_organization.chain(of_integration).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Organization, Relation, RelationState};

    fn organization(key: &str) -> Organization {
        Organization { key: key.to_owned(), name: key.to_owned(), schema: "public".to_owned() }
    }

    fn integration(opaque_id: &str, organization: &str, source: Option<&str>) -> Integration {
        Integration {
            opaque_id: opaque_id.to_owned(),
            organization: organization.to_owned(),
            service_name: String::new(),
            table_name: String::new(),
            schema: String::new(),
            source: source.map(str::to_owned),
        }
    }

    fn published(integration: &str, source: &str) -> Relation {
        Relation {
            source: source.to_owned(),
            oid: 1,
            integration: Some(integration.to_owned()),
            organization: None,
            state: RelationState::Published,
            schema_name: String::new(),
            table_name: String::new(),
            primary_key: vec![],
            remote_key: vec![],
            publishing_xid: None,
            published_at: None,
        }
    }

    fn placement(sources: &[(&str, &[&str])]) -> Placement {
        let owned = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
        Placement::new(sources.iter().map(|(name, keys)| ((*name).to_owned(), owned(keys))).collect())
    }

    fn placed(sources: &[(&str, &[&str])]) -> Snapshot {
        let mut snapshot = Snapshot {
            organizations: vec![organization("acme"), organization("beta")],
            integrations: vec![
                integration("svi_1", "acme", None),
                integration("svi_2", "acme", Some("b")),
                integration("svi_3", "beta", None),
            ],
            relations: vec![published("svi_1", "a")],
            ..Snapshot::default()
        };
        snapshot.place(&placement(sources));
        snapshot
    }

    fn sources(snapshot: &Snapshot) -> Vec<Option<&str>> {
        snapshot.integrations.iter().map(|integration| integration.source.as_deref()).collect()
    }

    #[test]
    fn what_is_recorded_goes_before_the_organizations_place() {
        let snapshot = placed(&[("a", &["acme"]), ("b", &["beta"])]);
        assert_eq!(sources(&snapshot), [Some("a"), Some("b"), Some("b")]);
        assert_eq!(snapshot.misplaced, []);
    }

    #[test]
    fn where_the_place_is_open_what_is_published_stays_and_the_rest_is_nowhere() {
        let snapshot = placed(&[("a", &[]), ("b", &[])]);
        assert_eq!(sources(&snapshot), [Some("a"), Some("b"), None]);
        let both = |key: &str| Misplaced::Anywhere {
            organization: key.to_owned(),
            sources: vec!["a".to_owned(), "b".to_owned()],
        };
        assert_eq!(snapshot.misplaced, [both("acme"), both("beta")]);
    }

    #[test]
    fn an_organization_that_no_source_claims_and_a_source_that_is_gone_are_said() {
        let snapshot = placed(&[("a", &["acme"])]);
        assert_eq!(sources(&snapshot), [Some("a"), Some("b"), None]);
        let nowhere = Misplaced::Nowhere { organization: "beta".to_owned() };
        let gone = Misplaced::UnknownSource { integration: "svi_2".to_owned(), source_name: "b".to_owned() };
        assert_eq!(snapshot.misplaced, [nowhere, gone]);
    }
}
