//! Who wants what, found by a table's OID: what a change costs does not depend on how many subscriptions there are.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Integration, Relation, Snapshot};
use crate::model::{Scope, Subscription, SubscriptionId, SubscriptionState};

/// A table that is routed.
#[derive(Clone, Debug)]
pub struct TableRoute {
    /// What the table replicates.
    pub integration: Arc<Integration>,
    /// The table's keys as recorded at its publication.
    pub relation: Arc<Relation>,
    /// Every subscription that covers it and is served.
    pub subscriptions: Arc<[Arc<Subscription>]>,
}

/// What is to be done with the changes of a published table.
#[derive(Clone, Debug)]
pub enum Route {
    /// They are matched to subscriptions.
    Table(TableRoute),
    /// They are counted and passed over: the integration was removed, or a DBA published the table.
    Passed,
}

/// A [`Snapshot`] indexed by table.
#[derive(Clone, Debug, Default)]
pub struct CatalogIndex {
    /// The revision that it shows.
    pub revision: i64,
    routes: HashMap<String, HashMap<u32, Route>>,
    subscriptions: HashMap<i64, Arc<Subscription>>,
}

impl CatalogIndex {
    /// Indexes a snapshot.
    #[must_use]
    pub fn new(snapshot: &Snapshot) -> Self {
        let subscriptions: HashMap<i64, Arc<Subscription>> =
            snapshot.subscriptions.iter().map(|subscription| (subscription.id, subscription.clone())).collect();
        let interested = Interested::new(snapshot, &subscriptions);
        let mut routes: HashMap<String, HashMap<u32, Route>> = HashMap::new();
        for relation in &snapshot.relations {
            let route = interested.route(relation);
            routes.entry(relation.source.clone()).or_default().insert(relation.oid, route);
        }
        Self { revision: snapshot.revision, routes, subscriptions }
    }

    /// What to do with a table's changes; none where nobody knows the table.
    #[must_use]
    pub fn route(&self, source: &str, relation_oid: u32) -> Option<&Route> {
        self.routes.get(source)?.get(&relation_oid)
    }

    /// What a table is called, for the log: by its name, or by its OID where nobody knows it any more.
    #[must_use]
    pub fn table_name(&self, source: &str, relation_oid: u32) -> String {
        match self.route(source, relation_oid) {
            Some(Route::Table(route)) => route.relation.table_name.clone(),
            _ => relation_oid.to_string(),
        }
    }

    /// The subscription of this number.
    #[must_use]
    pub fn subscription(&self, id: i64) -> Option<&Arc<Subscription>> {
        self.subscriptions.get(&id)
    }

    /// The subscription of this name.
    #[must_use]
    pub fn by_opaque_id(&self, opaque_id: SubscriptionId) -> Option<&Arc<Subscription>> {
        self.subscriptions.values().find(|subscription| subscription.opaque_id == opaque_id)
    }

    /// Every subscription.
    pub fn subscriptions(&self) -> impl Iterator<Item = &Arc<Subscription>> {
        self.subscriptions.values()
    }
}

/// Integrations and the subscriptions that cover them.
struct Interested<'a> {
    integrations: HashMap<&'a str, Arc<Integration>>,
    by_integration: HashMap<&'a str, Vec<Arc<Subscription>>>,
    by_organization: HashMap<&'a str, Vec<Arc<Subscription>>>,
}

impl<'a> Interested<'a> {
    fn new(snapshot: &'a Snapshot, subscriptions: &HashMap<i64, Arc<Subscription>>) -> Self {
        let mut interested = Self {
            integrations: snapshot
                .integrations
                .iter()
                .map(|integration| (integration.opaque_id.as_str(), Arc::new(integration.clone())))
                .collect(),
            by_integration: HashMap::new(),
            by_organization: HashMap::new(),
        };
        for subscription in snapshot.subscriptions.iter().filter(|subscription| is_served(subscription.state)) {
            let list = match &subscription.scope {
                Scope::Integration(opaque_id) => interested.by_integration.entry(opaque_id).or_default(),
                Scope::Organization(key) => interested.by_organization.entry(key).or_default(),
            };
            list.extend(subscriptions.get(&subscription.id).cloned());
        }
        interested
    }

    /// A tombstone is routed too, as long as its integration is there: its table is gone, but not what the log holds of it.
    fn route(&self, relation: &Relation) -> Route {
        let integration = relation.integration.as_deref();
        let Some(integration) = integration.and_then(|opaque_id| self.integrations.get(opaque_id)) else {
            return Route::Passed;
        };
        let own = self.by_integration.get(integration.opaque_id.as_str()).into_iter().flatten();
        let all = self.by_organization.get(integration.organization.as_str()).into_iter().flatten();
        Route::Table(TableRoute {
            integration: integration.clone(),
            relation: Arc::new(relation.clone()),
            subscriptions: own.chain(all).cloned().collect(),
        })
    }
}

const fn is_served(state: SubscriptionState) -> bool {
    matches!(state, SubscriptionState::Pending | SubscriptionState::Active | SubscriptionState::Paused)
}
