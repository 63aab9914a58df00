//! What is written: pure, and the same for the same seed.

use std::fmt::Write as _;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::tables::{self, ALL, CHARGES, EVENTS, LINES, MESSAGES};

/// Sessions that write at the same time.
pub(super) const WRITERS: usize = 3;

/// Which rows a writer touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keyspace {
    /// So many, the same for all: they meet in row locks.
    Shared(u32),
    /// So many for each writer.
    PerWriter(u32),
    FirstWriterOnly,
}

/// A transaction to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Work {
    /// Each is sent by itself.
    pub(super) statements: Vec<String>,
    /// Else it is rolled back.
    pub(super) commit: bool,
    /// Before the next one.
    pub(super) pause: Duration,
}

/// The endless stream of one session's transactions.
#[derive(Debug)]
pub(super) struct Writer {
    rng: StdRng,
    number: usize,
    copies: u64,
}

impl Writer {
    pub(super) fn new(seed: u64, number: usize) -> Self {
        // Far from the plan's own stream.
        let stream = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(number as u64 + 1);
        Self { rng: StdRng::seed_from_u64(seed ^ stream), number, copies: 0 }
    }

    /// The next transaction.
    pub(super) fn next(&mut self) -> Work {
        let statements = match self.rng.random_range(0..1_000) {
            0..=4 => self.truncate(),
            5..=12 => self.large(),
            13..=16 => self.large_delete(),
            17..=40 => vec![self.unpublished(), self.message()],
            41..=100 => self.savepoint(),
            101..=400 => vec![self.change()],
            _ => (0..self.rng.random_range(2..=6)).map(|_| self.change()).collect(),
        };
        let commit = self.rng.random_bool(0.92);
        Work { statements, commit, pause: Duration::from_millis(self.rng.random_range(5..60)) }
    }

    fn change(&mut self) -> String {
        let table = match self.rng.random_range(0..100) {
            0..=39 => CHARGES,
            40..=59 => tables::CUSTOMERS,
            60..=74 => EVENTS,
            75..=79 => MESSAGES,
            80..=93 => tables::NOTES,
            _ if self.number == 0 => LINES,
            _ => CHARGES,
        };
        match table {
            LINES => self.line(),
            MESSAGES => self.message_row(),
            _ => self.row(table),
        }
    }

    fn row(&mut self, table: usize) -> String {
        let (name, remote_key) = named(table);
        let key = self.key(table);
        match self.rng.random_range(0..100) {
            0..=34 => self.upsert(table, &key),
            35..=69 => {
                let amount = self.number();
                let column = counter(table);
                format!("UPDATE {name} SET {column} = {amount} WHERE {remote_key} = '{key}'")
            }
            70..=84 => format!("DELETE FROM {name} WHERE {remote_key} = '{key}'"),
            85..=94 => {
                let other = self.key(table);
                format!(
                    "UPDATE {name} SET {remote_key} = '{other}' WHERE {remote_key} = '{key}'
                     AND NOT EXISTS (SELECT FROM {name} WHERE {remote_key} = '{other}')"
                )
            }
            _ if table == EVENTS => {
                let partition = self.rng.random_range(1..=9);
                format!("UPDATE {name} SET calendar_external_hash = {partition} WHERE {remote_key} = '{key}'")
            }
            _ if ALL[table].primary_key.is_empty() => format!("DELETE FROM {name} WHERE {remote_key} = '{key}'"),
            _ => format!("UPDATE {name} SET pk = nextval('{name}_pk_seq') WHERE {remote_key} = '{key}'"),
        }
    }

    fn upsert(&mut self, table: usize, key: &str) -> String {
        let (name, remote_key) = named(table);
        let (amount, column, data) = (self.number(), counter(table), self.data(key));
        if table == EVENTS {
            let partition = self.rng.random_range(1..=9);
            return format!(
                "INSERT INTO {name} (calendar_external_hash, {remote_key}, {column}, data)
                 SELECT {partition}, '{key}', {amount}, {data}
                 WHERE NOT EXISTS (SELECT FROM {name} WHERE {remote_key} = '{key}')"
            );
        }
        format!(
            "INSERT INTO {name} ({remote_key}, {column}, data) VALUES ('{key}', {amount}, {data})
             ON CONFLICT ({remote_key}) DO UPDATE SET {column} = excluded.{column}, data = excluded.data"
        )
    }

    /// Large values: most updates leave them alone, so that they are not in the log.
    fn message_row(&mut self) -> String {
        let (name, key) = (ALL[MESSAGES].table.name, self.key(MESSAGES));
        let number = self.number();
        if self.rng.random_bool(0.7) {
            return format!("UPDATE {name} SET type = 't{number}' WHERE front_id = '{key}'");
        }
        // 32 bytes each, which do not compress.
        let pieces = if self.rng.random_bool(0.02) { 40_000 } else { self.rng.random_range(100..3_000) };
        format!(
            "INSERT INTO {name} (front_id, type, data)
             SELECT '{key}', 't{number}', jsonb_build_object('pad', string_agg(md5(n::text || '{number}'), ''))
             FROM generate_series(1, {pieces}) AS n
             ON CONFLICT (front_id) DO UPDATE SET type = excluded.type, data = excluded.data"
        )
    }

    fn line(&mut self) -> String {
        let (name, line, amount) = (ALL[LINES].table.name, self.rng.random_range(0..5), self.number());
        match self.rng.random_range(0..3) {
            0 => format!("UPDATE {name} SET amount = {amount} WHERE line = 'line {line}'"),
            1 => format!("DELETE FROM {name} WHERE line = 'line {line}'"),
            _ => format!("INSERT INTO {name} VALUES ('line {line}', {amount}, '{{}}')"),
        }
    }

    fn savepoint(&mut self) -> Vec<String> {
        let mut statements = vec![self.change(), "SAVEPOINT s".to_owned(), self.change(), self.change()];
        let end = if self.rng.random_bool(0.5) { "ROLLBACK TO SAVEPOINT s" } else { "RELEASE SAVEPOINT s" };
        statements.extend([end.to_owned(), self.change()]);
        statements
    }

    fn truncate(&mut self) -> Vec<String> {
        let mut names = vec![ALL[self.rng.random_range(0..ALL.len())].table.name];
        if self.rng.random_bool(0.3) {
            names.push(ALL[self.rng.random_range(0..ALL.len())].table.name);
        }
        names.dedup();
        vec![self.change(), format!("TRUNCATE {}", names.join(", ")), self.change()]
    }

    /// Hundreds of rows at once, of their own or every row of a table.
    fn large(&mut self) -> Vec<String> {
        let (name, amount) = (ALL[CHARGES].table.name, self.number());
        if self.rng.random_bool(0.4) {
            return vec![format!("UPDATE {name} SET amount = {amount}"), self.change()];
        }
        let (writer, from, rows) = (self.number, self.copies, self.rng.random_range(100..1_500));
        self.copies += rows;
        let to = self.copies;
        let mut pad = String::new();
        let _ = write!(pad, "repeat('a row of many ', {})", self.rng.random_range(1..60));
        vec![format!(
            "INSERT INTO {name} (stripe_id, amount, data)
             SELECT 'many_{writer}_' || n, {amount}, jsonb_build_object('pad', {pad})
             FROM generate_series({from}, {to} - 1) AS n"
        )]
    }

    fn large_delete(&mut self) -> Vec<String> {
        let (name, writer) = (ALL[CHARGES].table.name, self.number);
        vec![format!("DELETE FROM {name} WHERE stripe_id LIKE 'many\\_{writer}\\_%'")]
    }

    fn unpublished(&mut self) -> String {
        let (number, rows) = (self.number(), self.rng.random_range(1..200));
        format!("INSERT INTO torture.unpublished SELECT {number}, repeat('x', 500) FROM generate_series(1, {rows})")
    }

    /// Somebody else's, sometimes large.
    fn message(&mut self) -> String {
        let transactional = self.rng.random_bool(0.5);
        let length = if self.rng.random_bool(0.1) { 2_000_000 } else { 100 };
        format!("SELECT pg_logical_emit_message({transactional}, 'somebody else', repeat('m', {length}))")
    }

    fn key(&mut self, table: usize) -> String {
        match ALL[table].keys {
            Keyspace::Shared(rows) => format!("key_{}", self.rng.random_range(0..rows)),
            Keyspace::PerWriter(rows) => format!("key_{}_{}", self.number, self.rng.random_range(0..rows)),
            Keyspace::FirstWriterOnly => String::new(),
        }
    }

    fn data(&mut self, key: &str) -> String {
        let pieces = self.rng.random_range(0..40);
        format!("jsonb_build_object('id', '{key}', 'pad', repeat('Äpfel und mehr ', {pieces}))")
    }

    fn number(&mut self) -> u32 {
        self.rng.random_range(0..1_000_000)
    }
}

fn named(table: usize) -> (&'static str, &'static str) {
    (ALL[table].table.name, ALL[table].table.remote_key)
}

/// A column with a number in it.
const fn counter(table: usize) -> &'static str {
    match table {
        tables::CUSTOMERS => "balance",
        EVENTS => "priority",
        _ => "amount",
    }
}
