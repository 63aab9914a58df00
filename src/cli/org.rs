//! `webhookdb org`: organizations, in a database that has no WebhookDB beside it.

use clap::{Args, Subcommand};
use serde_json::json;

use super::context::Context;
use super::failure::Advice;
use super::output::answer;
use super::table::{self, Format, Item};
use crate::catalog::{Organization, organizations};
use crate::config::Settings;

/// The commands.
#[derive(Subcommand, Debug)]
pub(super) enum OrgCommand {
    /// Create an organization
    Create(CreateArgs),
    /// List the organizations
    List(ListArgs),
}

/// An organization to be.
#[derive(Args, Debug)]
pub(super) struct CreateArgs {
    /// Its name, for people
    name: String,
    /// Its name for scripts [default: NAME in lower case, every other run of characters as _]
    #[arg(long)]
    key: Option<String>,
    /// The schema that holds its tables
    #[arg(long, default_value = "public")]
    schema: String,
}

/// How to list.
#[derive(Args, Debug)]
pub(super) struct ListArgs {
    /// The form of the list
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(super) async fn run(settings: &Settings, command: OrgCommand) -> anyhow::Result<()> {
    let context = Context::open(settings).await?;
    match command {
        OrgCommand::Create(args) => create(&context, args).await,
        OrgCommand::List(args) => list(&context, args.format).await,
    }
}

async fn create(context: &Context<'_>, args: CreateArgs) -> anyhow::Result<()> {
    let name = args.name.trim().to_owned();
    let key = args.key.unwrap_or_else(|| default_key(&name));
    if name.is_empty() || !key.contains(|character: char| character.is_alphanumeric()) {
        return Err(Advice::new("an organization needs a name and a key with letters or digits", "give --key").into());
    }
    let organization = Organization { key, name, schema: args.schema };
    organizations::create(&context.catalog, context.schema(), &organization).await?;
    answer(&format!("Organization {} ({}) was created.", organization.name, organization.key))
}

/// The name in lower case, with every run of other characters than ASCII letters and digits as `_`.
fn default_key(name: &str) -> String {
    let mut key = String::new();
    for character in name.chars() {
        if character.is_ascii_alphanumeric() {
            key.push(character.to_ascii_lowercase());
        } else if !key.ends_with('_') {
            key.push('_');
        }
    }
    key
}

async fn list(context: &Context<'_>, format: Format) -> anyhow::Result<()> {
    let snapshot = context.snapshot().await?;
    let items: Vec<Item> = snapshot.organizations.iter().map(item).collect();
    let when_empty = "There are no organizations yet; `webhookdb org create NAME` makes one.";
    table::print(format, &["KEY", "NAME", "SCHEMA"], &items, when_empty)
}

fn item(organization: &Organization) -> Item {
    let Organization { key, name, schema } = organization;
    Item {
        cells: vec![key.clone(), name.clone(), schema.clone()],
        json: json!({"key": key, "name": name, "schema": schema}),
        more: json!({}),
    }
}

#[cfg(test)]
mod tests {
    use super::default_key;

    #[test]
    fn the_default_key_is_the_name_in_lower_case_with_other_runs_as_one_underscore() {
        for (name, key) in [("Acme Corp", "acme_corp"), ("A & B 2", "a_b_2"), ("acme", "acme"), ("Été", "_t_")] {
            assert_eq!(default_key(name), key);
        }
    }
}
