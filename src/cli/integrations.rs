//! `webhookdb integrations`: which tables are replicated, in a database that has no WebhookDB beside it.

use std::collections::HashMap;
use std::time::SystemTime;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::json;

use super::context::{Context, connect_writer, source_of};
use super::failure::Advice;
use super::notification::confirm;
use super::output::{answer, warn};
use super::table::{self, Format, Item};
use crate::catalog::integrations::{self, NewIntegration};
use crate::catalog::{Integration, Misplaced, Organization, Relation, Snapshot, subscriptions};
use crate::config::{Settings, SourceSettings};
use crate::setup::upkeep;
use crate::source::table::{RelationKeys, Table, tables};

/// The commands.
#[derive(Subcommand, Debug)]
pub(super) enum IntegrationsCommand {
    /// Add an integration; its table may come later
    Add(AddArgs),
    /// List the integrations, and since when each table is published
    List(ListArgs),
    /// Remove an integration; its table stays
    Remove(RemoveArgs),
}

/// An integration to be.
#[derive(Args, Debug)]
pub(super) struct AddArgs {
    /// The organization, by key or name
    #[arg(long, value_name = "KEY")]
    org: String,
    /// What is replicated, e.g. stripe_charge_v1
    #[arg(long, value_name = "NAME")]
    service: String,
    /// The table, e.g. stripe_charge_v1_fdcc
    #[arg(long, value_name = "NAME")]
    table: String,
    /// The table's schema [default: the organization's]
    #[arg(long)]
    schema: Option<String>,
    /// The source that holds the table [default: the only one that may hold tables of the organization]
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
}

/// How to list.
#[derive(Args, Debug)]
pub(super) struct ListArgs {
    /// The form of the list
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// What to remove.
#[derive(Args, Debug)]
pub(super) struct RemoveArgs {
    /// The integration, by opaque id, service name or table name
    integration: String,
    /// Delete the notifications that are attached to it, too
    #[arg(long)]
    force: bool,
}

pub(super) async fn run(settings: &Settings, command: IntegrationsCommand) -> anyhow::Result<()> {
    let context = Context::open(settings).await?;
    match command {
        IntegrationsCommand::Add(args) => add(&context, args).await,
        IntegrationsCommand::List(args) => list(&context, args.format).await,
        IntegrationsCommand::Remove(args) => remove(&context, args).await,
    }
}

async fn add(context: &Context<'_>, args: AddArgs) -> anyhow::Result<()> {
    let snapshot = context.snapshot().await?;
    let organization = snapshot.resolve_organization(&args.org)?;
    let source = source_for(context.settings, organization, args.source.as_deref())?;
    let new = NewIntegration {
        organization: organization.key.clone(),
        service_name: args.service,
        table_name: args.table,
        schema: args.schema,
        source,
    };
    let opaque_id = integrations::add(&context.catalog, context.schema(), &new).await?;
    let schema = new.schema.as_ref().unwrap_or(&organization.schema);
    answer(&format!(
        "Integration {opaque_id} ({} in table {schema}.{}) was added to {}.",
        new.service_name, new.table_name, organization.name
    ))
}

/// The source that is named, or the only one, among those that may hold tables of the organization.
fn source_for(settings: &Settings, organization: &Organization, named: Option<&str>) -> Result<String, Advice> {
    let (placement, key) = (settings.placement(), &organization.key);
    let claimants = placement.claimants(key);
    if let Some(name) = named {
        return match claimants.contains(&source_of(settings, name)?.name()) {
            true => Ok(name.to_owned()),
            false => Err(Advice::new(
                format!("source {name} holds no tables of organization {key}, as its organizations have it"),
                format!("add \"{key}\" to them, or name another source"),
            )),
        };
    }
    match claimants.as_slice() {
        [only] => Ok((*only).to_owned()),
        [] => Err(Advice::from(&Misplaced::Nowhere { organization: key.clone() })),
        several => {
            Err(Advice::new(format!("the table may be in source {}", several.join(" or ")), "name it by --source"))
        }
    }
}

async fn list(context: &Context<'_>, format: Format) -> anyhow::Result<()> {
    let snapshot = context.snapshot().await?;
    let keys = read_keys(context, &snapshot).await;
    let items: Vec<Item> =
        snapshot.integrations.iter().map(|integration| item(integration, &snapshot, &keys)).collect();
    let header =
        ["OPAQUE ID", "ORGANIZATION", "SERVICE", "SCHEMA", "TABLE", "SOURCE", "PUBLISHED SINCE", "EXTERNAL ID COLUMN"];
    let when_empty = "There are no integrations yet; `webhookdb integrations add --help` shows how to add one.";
    table::print(format, &header, &items, when_empty)
}

/// The keys of the published tables as they are now, by source and OID.
type Keys = HashMap<(String, u32), RelationKeys>;

/// A source that is not reached costs its columns' names, not the list.
async fn read_keys(context: &Context<'_>, snapshot: &Snapshot) -> Keys {
    let mut keys = Keys::new();
    for source in context.settings.sources() {
        let of_source = snapshot.relations.iter().filter(|relation| relation.source == source.name());
        let oids: Vec<u32> = of_source.map(|relation| relation.oid).collect();
        if oids.is_empty() {
            continue;
        }
        match tables_of(source, &oids).await {
            Ok(tables) => keys.extend(tables.iter().map(|table| ((source.name().to_owned(), table.oid), table.keys()))),
            Err(error) => warn(&format!("the external id columns are not known: {error:#}")),
        }
    }
    keys
}

async fn tables_of(source: &SourceSettings, oids: &[u32]) -> anyhow::Result<Vec<Table>> {
    let client = connect_writer(source).await?;
    tables(&client, oids).await.with_context(|| format!("source {}", source.name()))
}

fn item(integration: &Integration, snapshot: &Snapshot, keys: &Keys) -> Item {
    let relation = snapshot.relation_of(&integration.opaque_id);
    let since = relation.and_then(|relation| relation.published_at).map(rfc3339);
    let column = relation.and_then(|relation| external_id_column(relation, keys));
    let Integration { opaque_id, organization, service_name, table_name, schema, source } = integration;
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    Item {
        cells: vec![
            opaque_id.clone(),
            organization.clone(),
            service_name.clone(),
            schema.clone(),
            table_name.clone(),
            or_dash(source),
            or_dash(&since),
            or_dash(&column),
        ],
        json: json!({
            "opaque_id": opaque_id, "organization": organization, "service_name": service_name, "schema": schema,
            "table_name": table_name, "source": source, "published_since": since, "external_id_column": column,
        }),
        more: json!({
            "relation_oid": relation.map(|relation| relation.oid),
            "state": relation.map(|relation| format!("{:?}", relation.state).to_lowercase()),
        }),
    }
}

/// As the bodies name it: the remote key's column, else the primary key's columns joined by commas.
fn external_id_column(relation: &Relation, keys: &Keys) -> Option<String> {
    let keys = keys.get(&(relation.source.clone(), relation.oid))?;
    let numbers = if keys.remote_key.is_empty() { &keys.primary_key } else { &keys.remote_key };
    let name = |number: &i16| keys.columns.iter().find(|(of, _)| of == number).map(|(_, name)| name.as_str());
    let names: Vec<&str> = numbers.iter().filter_map(name).collect();
    (!names.is_empty()).then(|| names.join(","))
}

pub(super) fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_micros(time).to_string()
}

async fn remove(context: &Context<'_>, args: RemoveArgs) -> anyhow::Result<()> {
    let snapshot = context.snapshot().await?;
    let integration = snapshot.resolve_integration(&args.integration)?;
    let opaque_id = &integration.opaque_id;
    let revision = integrations::remove(&context.catalog, context.schema(), opaque_id, args.force).await?;
    confirm::wait(context, revision, "the removal").await?;
    subscriptions::forget_deleted(&context.catalog, opaque_id).await?;
    if let Some(relation) = snapshot.relation_of(opaque_id)
        && let Err(error) = unpublish(context, relation).await
    {
        warn(&format!("its table stays in the publication, where its changes are passed over: {error:#}"));
    }
    answer(&format!("Integration {opaque_id} ({}) was removed.", integration.service_name))
}

/// After the tombstone is recorded: the daemon knows what to make of the table's changes until it is out, and if it stays.
async fn unpublish(context: &Context<'_>, relation: &Relation) -> anyhow::Result<()> {
    let source = source_of(context.settings, &relation.source)?;
    let client = connect_writer(source).await?;
    Ok(upkeep::take_out(&context.catalog, &client, source, relation.oid).await?)
}
