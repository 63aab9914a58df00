//! The behaviour of the real binary against a real Postgres and real HTTP endpoints; `support` is the harness.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the test runner captures what tests print")]

mod support;

mod attack;
mod bloat;
mod bounds;
mod commands;
mod connection;
mod delivery;
mod demo;
mod encryption;
mod exact_start;
mod faults;
mod fuzz_seeds;
mod harness;
mod identities;
mod idle_cost;
mod interoperability;
mod isolation;
mod leaks;
mod lifecycle;
mod odd_tables;
mod outcomes;
mod own_types;
mod packaging;
mod publication;
mod recovery;
mod replication;
mod retries;
mod rights;
mod rotation;
mod service;
mod setup;
mod shapes;
mod skip;
mod slot_life;
mod sources;
mod standby;
mod startup_errors;
mod staying_connected;
mod stopping;
mod torture;
mod two_daemons;
mod types;
