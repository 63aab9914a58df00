//! Values of chance, the same for the same seed, as texts to be cast to their types.

use std::fmt::Write as _;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::edge_values::edge_values_of;

/// What makes trouble in texts: for arrays, composites, hstore, JSON, XML.
const CHARACTERS: &[char] = &[
    'a', 'Z', '0', ' ', '"', '\'', '\\', '{', '}', '(', ')', '[', ']', ',', ';', ':', '=', '>', '<', '&', '%', '$',
    '_', '-', '+', '.', '/', '\t', '\n', '\r', '\u{1}', '\u{7f}', 'ä', 'ß', '語', '🦀', '\u{2028}', '\u{feff}',
];

/// How deep JSON of chance is nested.
const JSON_DEPTH_MAX: u8 = 3;

/// Draws values.
pub(crate) struct Samples(StdRng);

impl Samples {
    pub(crate) fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// A value of this type, as SQL names it; sometimes none, for null. A type that is not known here has one of the edge
    /// values, and its arrays have several.
    pub(crate) fn value(&mut self, type_name: &str) -> Option<String> {
        if self.one_in(10) {
            return None;
        }
        Some(match type_name.strip_suffix("[]") {
            Some(element) => self.array(element),
            None => self.scalar(type_name),
        })
    }

    fn scalar(&mut self, type_name: &str) -> String {
        match type_name {
            "smallint" => self.0.random::<i16>().to_string(),
            "integer" => self.0.random::<i32>().to_string(),
            "bigint" => self.0.random::<i64>().to_string(),
            "oid" => self.0.random::<u32>().to_string(),
            "xid8" => self.0.random::<u64>().to_string(),
            "money" => format!("{}.{:02}", self.0.random::<i32>(), self.0.random_range(0..100)),
            "numeric" => self.number(),
            "real" => f32::from_bits(self.0.random()).to_string(),
            "double precision" => f64::from_bits(self.0.random()).to_string(),
            "text" | "varchar" | "citext" | "edge_email" | "edge_vector" | "edge_point3" => self.text(),
            "bytea" => format!("\\x{}", self.hex(40)),
            "uuid" => format!("{:032x}", self.0.random::<u128>()),
            "bit varying(9)" => format!("{:b}", self.0.random_range(0..512)),
            "date" => self.date(),
            "time" => self.time(),
            "timetz" => format!("{}{:+03}:30", self.time(), self.0.random_range(-15..=14)),
            "timestamp" => self.moment(""),
            "timestamptz" | "edge_moment" => self.moment("+00"),
            "interval" => self.interval(),
            "json" | "jsonb" | "edge_document" => self.json(JSON_DEPTH_MAX),
            "xml" => format!("<a b=\"{}\">{}</a>", self.0.random::<u8>(), self.0.random::<u16>()),
            "inet" => format!("{}/{}", self.address(), self.0.random_range(0..=32)),
            "macaddr" => self.hex(6),
            "macaddr8" => self.hex(8),
            "pg_lsn" => format!("{:X}/{:X}", self.0.random::<u32>(), self.0.random::<u32>()),
            "point" => self.point(),
            "lseg" | "box" | "polygon" | "path" => format!("({},{})", self.point(), self.point()),
            "circle" => format!("<{},{}>", self.point(), self.0.random_range(0.0..9e9)),
            "int4range" => self.range(|samples| i64::from(samples.0.random::<i16>())),
            "int8range" => self.range(|samples| i64::from(samples.0.random::<i32>())),
            "int4multirange" => format!("{{{}}}", self.range(|samples| i64::from(samples.0.random::<i16>()))),
            "hstore" => self.hstore(),
            "edge_payment" => self.composite(&["integer", "text", "timestamptz", "text[]", "jsonb", "edge_mood"]),
            "edge_order" => self.composite(&["bigint", "edge_payment", "edge_payment[]", "box[]", "edge_pair"]),
            "edge_one" => self.composite(&["text"]),
            "edge_shape" => self.composite(&["edge_point3[]", "hstore", "edge_rank", "edge_vector"]),
            other => self.edge_value(other),
        }
    }

    fn edge_value(&mut self, type_name: &str) -> String {
        (*edge_values_of(type_name).choose(&mut self.0).unwrap_or_else(|| panic!("an edge value of {type_name}")))
            .to_owned()
    }

    /// Of one or two dimensions, from any lower bound, with nulls, or empty.
    fn array(&mut self, element: &str) -> String {
        if self.one_in(8) {
            return "{}".to_owned();
        }
        let (rows, columns) = (self.0.random_range(1..=2), self.0.random_range(1..=3));
        let (first, two_dimensions) = (self.0.random_range(-3i32..=3), self.one_in(3));
        let delimiter = if matches!(element, "box" | "edge_box" | "edge_boxes") { ";" } else { "," };
        let mut row = || {
            let items: Vec<String> = (0..columns)
                .map(|_| self.value(element).map_or("NULL".to_owned(), |text| quoted(&text, "\\\"")))
                .collect();
            format!("{{{}}}", items.join(delimiter))
        };
        if two_dimensions {
            let values = (0..rows).map(|_| row()).collect::<Vec<_>>().join(delimiter);
            return format!("[{first}:{}][2:{}]={{{values}}}", first + rows - 1, columns + 1);
        }
        format!("[{first}:{}]={}", first + columns - 1, row())
    }

    fn composite(&mut self, fields: &[&str]) -> String {
        let fields: Vec<String> =
            fields.iter().map(|field| self.value(field).map_or(String::new(), |text| quoted(&text, "\"\""))).collect();
        format!("({})", fields.join(","))
    }

    fn hstore(&mut self) -> String {
        let count = self.0.random_range(0..4);
        let pair = |_| {
            let value = if self.one_in(4) { "NULL".to_owned() } else { quoted(&self.text(), "\\\"") };
            format!("{}=>{value}", quoted(&self.text(), "\\\""))
        };
        (0..count).map(pair).collect::<Vec<_>>().join(", ")
    }

    fn json(&mut self, depth: u8) -> String {
        match self.0.random_range(0..if depth == 0 { 4 } else { 6 }) {
            0 => "null".to_owned(),
            1 => self.number(),
            2 => self.one_in(2).to_string(),
            3 => serde_json::to_string(&self.text()).expect("JSON"),
            4 => {
                let items: Vec<String> = (0..self.0.random_range(0..4)).map(|_| self.json(depth - 1)).collect();
                format!("[ {} ]", items.join(" ,"))
            }
            _ => {
                let member = |_| {
                    let key = serde_json::to_string(&self.text()).expect("JSON");
                    format!("{key} :{}", self.json(depth - 1))
                };
                format!("{{{}}}", (0..2).map(member).collect::<Vec<_>>().join(",\n "))
            }
        }
    }

    fn text(&mut self) -> String {
        let length = self.0.random_range(0..12);
        (0..length).map(|_| *CHARACTERS.choose(&mut self.0).expect("characters")).collect()
    }

    /// As JSON and numeric both take it.
    fn number(&mut self) -> String {
        let whole = self.0.random::<i128>() >> self.0.random_range(0..128);
        let mut number = whole.to_string();
        if self.one_in(2) {
            write!(number, ".{}", self.0.random::<u64>()).expect("a string takes all");
        }
        if self.one_in(4) {
            write!(number, "e{}", self.0.random_range(-60..60)).expect("a string takes all");
        }
        number
    }

    fn date(&mut self) -> String {
        if self.one_in(12) {
            return "infinity".to_owned();
        }
        let last_year = if self.one_in(4) { 290_000 } else { 2_100 };
        let year = self.0.random_range(1..=last_year);
        let era = if year < 4_700 && self.one_in(6) { " BC" } else { "" };
        format!("{year:04}-{:02}-{:02}{era}", self.0.random_range(1..=12), self.0.random_range(1..=28))
    }

    fn time(&mut self) -> String {
        let seconds = self.0.random_range(0..86_400);
        format!(
            "{:02}:{:02}:{:02}.{:06}",
            seconds / 3_600,
            seconds / 60 % 60,
            seconds % 60,
            self.0.random_range(0..1_000_000)
        )
    }

    fn moment(&mut self, offset: &str) -> String {
        match self.date() {
            date if date == "infinity" => date,
            date => match date.strip_suffix(" BC") {
                Some(date) => format!("{date} {}{offset} BC", self.time()),
                None => format!("{date} {}{offset}", self.time()),
            },
        }
    }

    fn interval(&mut self) -> String {
        let (months, days) = (self.0.random::<i16>(), self.0.random::<i16>());
        format!("{months} months {days} days {} microseconds", self.0.random::<i32>())
    }

    fn range(&mut self, mut bound: impl FnMut(&mut Self) -> i64) -> String {
        let (one, other) = (bound(self), bound(self));
        let text = |samples: &mut Self, bound: i64| if samples.one_in(5) { String::new() } else { bound.to_string() };
        let (lower, upper) = (text(self, one.min(other)), text(self, one.max(other)));
        format!("[{lower},{upper})")
    }

    fn point(&mut self) -> String {
        format!("({},{})", self.0.random_range(-1e9..1e9), self.0.random::<f32>())
    }

    fn address(&mut self) -> String {
        std::net::Ipv4Addr::from(self.0.random::<u32>()).to_string()
    }

    fn hex(&mut self, bytes: usize) -> String {
        (0..bytes).map(|_| format!("{:02x}", self.0.random::<u8>())).collect()
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.0.random_ratio(1, n)
    }
}

/// In quotes, with this in place of a quote, and backslashes doubled.
fn quoted(text: &str, quote: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', quote))
}
