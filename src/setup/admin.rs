//! `setup --admin-url`: what the daemon's role may not do itself, done with the rights of an owner or a superuser.
//!
//! What is run is the SQL that `setup --sql` prints for a DBA: queries whose rows are statements.

use postgres_protocol::escape::{escape_identifier, escape_literal};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::SetupError;
use super::report::{Note, Report};
use super::run::connect;
use super::script::array_literal;
use crate::catalog::{Snapshot, made};
use crate::config::{PostgresUrl, Settings, SourceSettings};
use crate::postgres::PostgresError;
use crate::source::alteration::qualified;
use crate::source::delegate;

/// What the daemon's role needs.
pub(super) const ROLE: &str = include_str!("../../sql/admin/role.sql");
/// The functions that publish for it.
pub(super) const PUBLISHER: &str = include_str!("../../sql/admin/publisher.sql");
/// Undoes [`PUBLISHER`].
const DROP_PUBLISHER: &str = include_str!("../../sql/admin/drop_publisher.sql");

/// The kind under which `notifications.made` records the functions' schema.
pub(super) const DELEGATE_KIND: &str = "delegate";

/// The rights of somebody else, for every database of the config that is on their server.
pub(super) struct Admin<'a> {
    url: PostgresUrl,
    settings: &'a Settings,
}

impl<'a> Admin<'a> {
    /// Where the URL's server is none of the config's by name, it is another name of the one server that there is.
    ///
    /// # Errors
    /// Where there are several, and none has the URL's name.
    pub(super) fn new(url: PostgresUrl, settings: &'a Settings) -> Result<Self, SetupError> {
        let mut servers = servers(settings);
        if servers.all(|server| server == server_of(settings.catalog().url())) || names(settings, &url) {
            return Ok(Self { url, settings });
        }
        Err(SetupError::AdminServer)
    }

    /// A session in the database of this URL; none where that is on another server.
    pub(super) async fn connect(&self, target: &PostgresUrl) -> Result<Option<Client>, SetupError> {
        if names(self.settings, &self.url) && server_of(&self.url) != server_of(target) {
            return Ok(None);
        }
        let url = PostgresUrl { database: target.database.clone(), ..self.url.clone() };
        connect(&url, "the admin url").await.map(Some)
    }
}

/// A session in the database of this URL, where there is an admin and it is on his server.
pub(super) async fn lend(admin: Option<&Admin<'_>>, target: &PostgresUrl) -> Result<Option<Client>, SetupError> {
    match admin {
        Some(admin) => admin.connect(target).await,
        None => Ok(None),
    }
}

/// Where what a source needs is written: for a standby, at its primary.
pub(super) fn written(source: &SourceSettings) -> &PostgresUrl {
    source.primary_url().unwrap_or_else(|| source.url())
}

fn server_of(url: &PostgresUrl) -> (&str, u16) {
    (&url.host, url.port)
}

fn servers(settings: &Settings) -> impl Iterator<Item = (&str, u16)> {
    let sources = settings.sources().iter().map(written);
    std::iter::once(settings.catalog().url()).chain(sources).map(server_of)
}

fn names(settings: &Settings, url: &PostgresUrl) -> bool {
    servers(settings).any(|server| server == server_of(url))
}

/// Whether the catalog is in the source's database.
pub(super) fn holds_catalog(settings: &Settings, source: &SourceSettings) -> bool {
    let (catalog, source) = (settings.catalog().url(), written(source));
    server_of(catalog) == server_of(source) && catalog.database == source.database
}

/// The schemas in which these tables are, each once; the usual one where there is none yet.
pub(super) fn schemas(tables: &[(String, String)]) -> Vec<String> {
    let mut schemas: Vec<String> = tables.iter().map(|(schema, _)| schema.clone()).collect();
    schemas.sort_unstable();
    schemas.dedup();
    if schemas.is_empty() { vec!["public".to_owned()] } else { schemas }
}

/// The tables as SQL writes them.
pub(super) fn quoted(tables: &[(String, String)]) -> Vec<String> {
    tables.iter().map(|(schema, name)| qualified(schema, name)).collect()
}

/// What the daemon's role needs in the catalog's database.
pub(super) async fn prepare_catalog_role(
    admin: &Client,
    settings: &Settings,
    report: Report<'_>,
) -> Result<(), SetupError> {
    let role = &settings.catalog().url().user;
    prepare_role(admin, role, settings.catalog().schema(), report).await
}

/// What the daemon's role needs in a source's database.
pub(super) async fn prepare_source_role(
    admin: &Client,
    settings: &SourceSettings,
    report: Report<'_>,
) -> Result<(), SetupError> {
    prepare_role(admin, &settings.url().user, "", report).await
}

async fn prepare_role(admin: &Client, role: &str, catalog_schema: &str, report: Report<'_>) -> Result<(), SetupError> {
    for statement in statements(admin, ROLE, &[("role", role), ("catalog_schema", catalog_schema)]).await? {
        admin.batch_execute(&statement).await.map_err(|error| refused(error.into(), &statement))?;
        report(Note::done(statement));
    }
    Ok(())
}

/// Lets the daemon's role write the tables of organizations and integrations that were made by these rights.
pub(super) async fn grant_own_tables(admin: &Client, schema: &str, role: &str) -> Result<(), SetupError> {
    let (schema, role) = (escape_identifier(schema), escape_identifier(role));
    let statement = format!(
        "GRANT USAGE ON SCHEMA {schema} TO {role};
         GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.organizations, {schema}.service_integrations TO {role};
         GRANT USAGE ON SEQUENCE {schema}.organizations_id_seq, {schema}.service_integrations_id_seq TO {role}"
    );
    admin.batch_execute(&statement).await.map_err(|error| refused(error.into(), &statement))
}

/// Leaves behind the functions by which the daemon's role publishes the tables to come, in one transaction.
pub(super) async fn leave_functions(
    admin: &Client,
    catalog: &Client,
    settings: &Settings,
    source: &SourceSettings,
    snapshot: &Snapshot,
    report: Report<'_>,
) -> Result<(), SetupError> {
    let of_source = snapshot.integrations.iter().filter(|one| one.source.as_deref() == Some(source.name()));
    let tables: Vec<_> = of_source.map(|one| (one.schema.clone(), one.table_name.clone())).collect();
    let catalog_schema = if holds_catalog(settings, source) { settings.catalog().schema() } else { "" };
    let variables = [
        ("role", source.url().user.as_str()),
        ("publication", source.publication()),
        ("slot", source.slot()),
        ("catalog_schema", catalog_schema),
        ("schemas", &array_literal(&schemas(&tables))),
        ("tables", &array_literal(&quoted(&tables))),
    ];
    let script = statements(admin, PUBLISHER, &variables).await?.join(";\n");
    admin.batch_execute(&script).await.map_err(|error| refused(error.into(), "what `webhookdb setup --sql` prints"))?;
    let schema = delegate::schema_name(source.slot());
    let made = made::find(catalog, DELEGATE_KIND, source.name(), &schema).await?.is_none();
    made::record(catalog, DELEGATE_KIND, source.name(), &schema, "{}").await?;
    report(Note::made(
        made,
        &format!("the functions that publish for role {} in schema {schema}", source.url().user),
        "are current",
    ));
    Ok(())
}

/// Removes the functions, and the role by whose rights they acted.
pub(super) async fn drop_functions(admin: &Client, source: &SourceSettings) -> Result<(), SetupError> {
    let script = statements(admin, DROP_PUBLISHER, &[("slot", source.slot())]).await?.join(";\n");
    admin.batch_execute(&script).await.map_err(|error| refused(error.into(), &script))
}

/// What a query of psql's \gexec would run.
async fn statements(admin: &Client, query: &str, variables: &[(&str, &str)]) -> Result<Vec<String>, PostgresError> {
    let query = query.trim_end().trim_end_matches("\\gexec").to_owned();
    let filled_in = variables
        .iter()
        .fold(query, |query, (name, value)| query.replace(&format!(":'{name}'"), &escape_literal(value)));
    let rows = admin.query(&filled_in, &[]).await?;
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}

fn refused(error: PostgresError, statement: &str) -> SetupError {
    if error.sqlstate() != Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
        return error.into();
    }
    SetupError::AdminRight { statement: statement.to_owned(), source: error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_url_serves_the_databases_of_its_own_server() {
        let text = "[catalog]\nurl = \"postgres://whdb@one/app\"\n[[source]]\nname = \"main\"\nurl = \"postgres://whdb@two/rows\"\n";
        let settings = Settings::parse(std::path::Path::new("config.toml"), text).unwrap();
        let admin = |url: &str| Admin::new(url.parse().unwrap(), &settings);
        assert!(admin("postgres://dba@two/postgres").is_ok());
        assert!(matches!(admin("postgres://dba@three/postgres"), Err(SetupError::AdminServer)));
    }

    #[test]
    fn schemas_are_named_once() {
        let table = |schema: &str| (schema.to_owned(), "t".to_owned());
        assert_eq!(schemas(&[table("b"), table("a"), table("b")]), ["a", "b"]);
        assert_eq!(schemas(&[]), ["public"]);
    }
}
