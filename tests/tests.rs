//! The behaviour of the real binary against a real Postgres and real HTTP endpoints; `support` is the harness.

mod support;

mod connection;
mod delivery;
mod exact_start;
mod faults;
mod harness;
mod interoperability;
mod recovery;
mod replication;
mod startup_errors;
