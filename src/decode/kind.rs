//! How a type's text becomes JSON, and what is known of the types that are built in.

use std::sync::Arc;

use super::object::Member;

/// How the text of a value is written as JSON. A domain has the kind of its base type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `t` and `f`.
    Bool,
    /// A JSON number with all its digits, except NaN and the infinities.
    Number,
    /// A JSON string of the text as it is.
    Text,
    /// A JSON string with `T` between date and time.
    Timestamp,
    /// A JSON string with `T` between date and time and the offset's minutes.
    TimestampTz,
    /// Embedded as it stands, where it can be.
    Json,
    /// Embedded as it stands.
    Jsonb,
    /// Numbers separated by spaces: int2vector.
    NumberVector,
    /// OIDs, which are JSON strings, separated by spaces: oidvector.
    OidVector,
    /// `{…}` of values of one kind.
    Array {
        /// The kind of the elements.
        element: Arc<Kind>,
        /// What stands between them.
        delimiter: u8,
    },
    /// `(…)`, a value for each member.
    Composite(Arc<[Member]>),
    /// A type with a cast to json of its own, which the server is asked to do: the type, as SQL names it.
    Cast(Arc<str>),
    /// A type of which the catalog does not tell (any more) what its text means: the text, and counted.
    Unknown,
}

const BOX_OID: u32 = 603;

/// A built-in type and its array type, whose OIDs are the same on every server.
pub(super) struct BuiltIn {
    pub(super) oid: u32,
    pub(super) array_oid: u32,
    pub(super) name: &'static str,
    pub(super) kind: Kind,
}

impl BuiltIn {
    /// What stands between the elements of the array type: a comma, except for boxes, whose text has commas.
    pub(super) fn delimiter(&self) -> u8 {
        if self.oid == BOX_OID { b';' } else { b',' }
    }
}

const fn is(oid: u32, array_oid: u32, name: &'static str, kind: Kind) -> BuiltIn {
    BuiltIn { oid, array_oid, name, kind }
}

/// The types of `pg_type.dat` that a column can have. OIDs from 10,000 on differ between servers and are looked up.
pub(super) static BUILT_IN: &[BuiltIn] = &[
    is(16, 1000, "bool", Kind::Bool),
    is(17, 1001, "bytea", Kind::Text),
    is(18, 1002, "char", Kind::Text),
    is(19, 1003, "name", Kind::Text),
    is(20, 1016, "int8", Kind::Number),
    is(21, 1005, "int2", Kind::Number),
    is(22, 1006, "int2vector", Kind::NumberVector),
    is(23, 1007, "int4", Kind::Number),
    is(24, 1008, "regproc", Kind::Text),
    is(25, 1009, "text", Kind::Text),
    is(26, 1028, "oid", Kind::Text),
    is(27, 1010, "tid", Kind::Text),
    is(28, 1011, "xid", Kind::Text),
    is(29, 1012, "cid", Kind::Text),
    is(30, 1013, "oidvector", Kind::OidVector),
    is(114, 199, "json", Kind::Json),
    is(142, 143, "xml", Kind::Text),
    is(600, 1017, "point", Kind::Text),
    is(601, 1018, "lseg", Kind::Text),
    is(602, 1019, "path", Kind::Text),
    is(603, 1020, "box", Kind::Text),
    is(604, 1027, "polygon", Kind::Text),
    is(628, 629, "line", Kind::Text),
    is(650, 651, "cidr", Kind::Text),
    is(700, 1021, "float4", Kind::Number),
    is(701, 1022, "float8", Kind::Number),
    is(718, 719, "circle", Kind::Text),
    is(774, 775, "macaddr8", Kind::Text),
    is(790, 791, "money", Kind::Text),
    is(829, 1040, "macaddr", Kind::Text),
    is(869, 1041, "inet", Kind::Text),
    is(1033, 1034, "aclitem", Kind::Text),
    is(1042, 1014, "bpchar", Kind::Text),
    is(1043, 1015, "varchar", Kind::Text),
    is(1082, 1182, "date", Kind::Text),
    is(1083, 1183, "time", Kind::Text),
    is(1114, 1115, "timestamp", Kind::Timestamp),
    is(1184, 1185, "timestamptz", Kind::TimestampTz),
    is(1186, 1187, "interval", Kind::Text),
    is(1266, 1270, "timetz", Kind::Text),
    is(1560, 1561, "bit", Kind::Text),
    is(1562, 1563, "varbit", Kind::Text),
    is(1700, 1231, "numeric", Kind::Number),
    is(1790, 2201, "refcursor", Kind::Text),
    is(2202, 2207, "regprocedure", Kind::Text),
    is(2203, 2208, "regoper", Kind::Text),
    is(2204, 2209, "regoperator", Kind::Text),
    is(2205, 2210, "regclass", Kind::Text),
    is(2206, 2211, "regtype", Kind::Text),
    is(2950, 2951, "uuid", Kind::Text),
    is(2970, 2949, "txid_snapshot", Kind::Text),
    is(3220, 3221, "pg_lsn", Kind::Text),
    is(3614, 3643, "tsvector", Kind::Text),
    is(3615, 3645, "tsquery", Kind::Text),
    is(3642, 3644, "gtsvector", Kind::Text),
    is(3734, 3735, "regconfig", Kind::Text),
    is(3769, 3770, "regdictionary", Kind::Text),
    is(3802, 3807, "jsonb", Kind::Jsonb),
    is(3904, 3905, "int4range", Kind::Text),
    is(3906, 3907, "numrange", Kind::Text),
    is(3908, 3909, "tsrange", Kind::Text),
    is(3910, 3911, "tstzrange", Kind::Text),
    is(3912, 3913, "daterange", Kind::Text),
    is(3926, 3927, "int8range", Kind::Text),
    is(4072, 4073, "jsonpath", Kind::Text),
    is(4089, 4090, "regnamespace", Kind::Text),
    is(4096, 4097, "regrole", Kind::Text),
    is(4191, 4192, "regcollation", Kind::Text),
    is(4451, 6150, "int4multirange", Kind::Text),
    is(4532, 6151, "nummultirange", Kind::Text),
    is(4533, 6152, "tsmultirange", Kind::Text),
    is(4534, 6153, "tstzmultirange", Kind::Text),
    is(4535, 6155, "datemultirange", Kind::Text),
    is(4536, 6157, "int8multirange", Kind::Text),
    is(5038, 5039, "pg_snapshot", Kind::Text),
    is(5069, 271, "xid8", Kind::Text),
];
