//! What a user's word names: an integration by opaque id, service name or table name; an organization by key or name.

use super::{CatalogError, Integration, Organization, Snapshot};

impl Snapshot {
    /// The integration that `name` names. An opaque id goes before a service name or a table name.
    ///
    /// # Errors
    /// Where there is none, or several.
    pub fn resolve_integration(&self, name: &str) -> Result<&Integration, CatalogError> {
        if let Some(integration) = self.integration(name) {
            return Ok(integration);
        }
        let named = |integration: &&Integration| integration.service_name == name || integration.table_name == name;
        match self.integrations.iter().filter(named).collect::<Vec<_>>().as_slice() {
            [] => Err(CatalogError::UnknownIntegration(name.to_owned())),
            [integration] => Ok(integration),
            several => Err(CatalogError::AmbiguousIntegration {
                name: name.to_owned(),
                candidates: several.iter().map(|integration| described(integration)).collect(),
            }),
        }
    }

    /// The organization that `name` names. A key goes before a name.
    ///
    /// # Errors
    /// Where there is none, or several.
    pub fn resolve_organization(&self, name: &str) -> Result<&Organization, CatalogError> {
        if let Some(organization) = self.organization(name) {
            return Ok(organization);
        }
        let named = |organization: &&Organization| organization.name == name;
        match self.organizations.iter().filter(named).collect::<Vec<_>>().as_slice() {
            [] => Err(CatalogError::UnknownOrganization(name.to_owned())),
            [organization] => Ok(organization),
            several => Err(CatalogError::AmbiguousOrganization {
                name: name.to_owned(),
                keys: several.iter().map(|organization| organization.key.clone()).collect(),
            }),
        }
    }
}

fn described(integration: &Integration) -> String {
    let Integration { opaque_id, organization, table_name, .. } = integration;
    format!("{opaque_id} (table {table_name} of {organization})")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integration(opaque_id: &str, service_name: &str, table_name: &str) -> Integration {
        Integration {
            opaque_id: opaque_id.to_owned(),
            organization: "acme_corp".to_owned(),
            service_name: service_name.to_owned(),
            table_name: table_name.to_owned(),
            schema: "public".to_owned(),
            source: Some("main".to_owned()),
        }
    }

    fn organization(key: &str, name: &str) -> Organization {
        Organization { key: key.to_owned(), name: name.to_owned(), schema: "public".to_owned() }
    }

    fn catalog() -> Snapshot {
        Snapshot {
            organizations: vec![
                organization("acme_corp", "Acme Corp"),
                organization("twin_1", "Twin"),
                organization("twin_2", "Twin"),
            ],
            integrations: vec![
                integration("svi_1", "stripe_charge_v1", "stripe_charge_v1_fdcc"),
                integration("svi_2", "stripe_charge_v1", "stripe_charge_v1_0001"),
                integration("svi_3", "github_issue_v1", "github_issue_v1"),
            ],
            ..Snapshot::default()
        }
    }

    #[test]
    fn an_integration_is_named_by_id_service_or_table() {
        for (name, opaque_id) in [
            ("svi_2", "svi_2"),
            ("stripe_charge_v1_fdcc", "svi_1"),
            // Its service and its table bear one name: still one integration.
            ("github_issue_v1", "svi_3"),
        ] {
            assert_eq!(catalog().resolve_integration(name).unwrap().opaque_id, opaque_id);
        }
    }

    #[test]
    fn an_ambiguous_integration_is_refused_with_the_candidates() {
        let error = catalog().resolve_integration("stripe_charge_v1").unwrap_err();
        assert!(matches!(&error, CatalogError::AmbiguousIntegration { candidates, .. } if candidates.len() == 2));
        assert!(error.to_string().contains("svi_1 (table stripe_charge_v1_fdcc of acme_corp)"), "{error}");
        assert!(matches!(catalog().resolve_integration("x"), Err(CatalogError::UnknownIntegration(_))));
    }

    #[test]
    fn an_organization_is_named_by_key_or_name() {
        for name in ["acme_corp", "Acme Corp"] {
            assert_eq!(catalog().resolve_organization(name).unwrap().key, "acme_corp");
        }
        assert_eq!(
            catalog().resolve_organization("Twin").unwrap_err().to_string(),
            "several organizations are named Twin: twin_1, twin_2"
        );
        assert!(matches!(catalog().resolve_organization("x"), Err(CatalogError::UnknownOrganization(_))));
    }
}
