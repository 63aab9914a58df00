//! What only the source's database can tell of values: what their types are, and what casts to json make of them.

use tokio_postgres::{Client, Row};

use super::PipelineError;
use crate::decode::{Cast, Casts, Relation, TYPES_SQL, TypeRow, Types};
use crate::source::{Sentinel, SourceError, cast};

/// Looks up what is not known yet of the types of a relation, for values that this transaction wrote.
pub(super) async fn learn_types(
    types: &mut Types,
    relation: &Relation,
    xid: u32,
    client: &Client,
) -> Result<(), PipelineError> {
    loop {
        let missing = types.missing(relation);
        if missing.is_empty() {
            return Ok(());
        }
        let rows = client.query(TYPES_SQL, &[&missing, &xid.to_string()]).await?;
        types.learn(&missing, rows.iter().map(type_row).collect::<Result<_, _>>()?);
    }
}

fn type_row(row: &Row) -> Result<TypeRow, tokio_postgres::Error> {
    let names: Option<Vec<String>> = row.try_get("field_names")?;
    let types: Option<Vec<u32>> = row.try_get("field_types")?;
    Ok(TypeRow {
        oid: row.try_get("oid")?,
        name: row.try_get("name")?,
        base: row.try_get("base")?,
        element: row.try_get("element")?,
        delimiter: row.try_get("delimiter")?,
        fields: names.zip(types).map(|(names, types)| names.into_iter().zip(types).collect()),
        cast_from: row.try_get("cast_from")?,
        opaque: row.try_get("opaque")?,
    })
}

/// Has the server do the casts that a change takes.
pub(super) async fn cast_wanted(
    wanted: Vec<Cast>,
    casts: &mut Casts,
    sentinel: &Sentinel,
) -> Result<(), PipelineError> {
    let client = sentinel.client().ok_or(SourceError::ShuttingDown)?;
    let values: Vec<(&str, &str)> = wanted.iter().map(|cast| (&*cast.type_name, &*cast.text)).collect();
    let answers = cast::to_json(&client, &values).await.map_err(SourceError::from)?;
    for (cast, json) in wanted.into_iter().zip(answers) {
        casts.answer(cast, json);
    }
    Ok(())
}
