//! A table as the stream describes it, at the point of the log where its next changes stand.

use super::DecodeError;
use super::reader::Reader;

/// The bit of a column's flags that says that it belongs to the replica identity.
const FLAG_KEY: u8 = 1;

/// The schema that pgoutput sends as an empty name.
const UNNAMED_SCHEMA: &str = "pg_catalog";

/// What the log holds of a row before it is updated or deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaIdentity {
    /// The primary key, if there is one.
    Default,
    /// Nothing.
    Nothing,
    /// The whole row.
    Full,
    /// The columns of a chosen unique index.
    Index,
}

/// A column, in the order of the tuples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Whether it belongs to the replica identity (every column does under [`ReplicaIdentity::Full`]).
    pub key: bool,
    /// Its name at this point of the log.
    pub name: String,
    /// Its type's OID.
    pub type_oid: u32,
    /// Its type's modifier, -1 for none.
    pub type_modifier: i32,
}

/// What a RELATION message says. It holds for the changes that follow it, until the next one of the same OID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// The table's OID, which stays when it is renamed.
    pub oid: u32,
    /// Its schema at this point of the log.
    pub schema: String,
    /// Its name at this point of the log.
    pub name: String,
    /// Its replica identity.
    pub replica_identity: ReplicaIdentity,
    /// Its published columns.
    pub columns: Vec<Column>,
}

impl Relation {
    /// Reads the message after its tag.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            oid: reader.u32()?,
            schema: schema(reader)?,
            name: reader.name()?.to_owned(),
            replica_identity: replica_identity(reader)?,
            columns: columns(reader)?,
        })
    }
}

/// A schema's name, as RELATION and TYPE messages write it.
pub(super) fn schema(reader: &mut Reader<'_>) -> Result<String, DecodeError> {
    let name = reader.name()?;
    Ok(if name.is_empty() { UNNAMED_SCHEMA } else { name }.to_owned())
}

fn replica_identity(reader: &mut Reader<'_>) -> Result<ReplicaIdentity, DecodeError> {
    match reader.u8()? {
        b'd' => Ok(ReplicaIdentity::Default),
        b'n' => Ok(ReplicaIdentity::Nothing),
        b'f' => Ok(ReplicaIdentity::Full),
        b'i' => Ok(ReplicaIdentity::Index),
        tag => Err(reader.unknown("replica identity", tag)),
    }
}

fn columns(reader: &mut Reader<'_>) -> Result<Vec<Column>, DecodeError> {
    let count = reader.u16()?;
    (0..count).map(|_| column(reader)).collect()
}

fn column(reader: &mut Reader<'_>) -> Result<Column, DecodeError> {
    Ok(Column {
        key: reader.u8()? & FLAG_KEY != 0,
        name: reader.name()?.to_owned(),
        type_oid: reader.u32()?,
        type_modifier: reader.i32()?,
    })
}
