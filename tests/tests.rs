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
mod exact_start;
mod faults;
mod harness;
mod idle_cost;
mod interoperability;
mod isolation;
mod lifecycle;
mod outcomes;
mod recovery;
mod replication;
mod retries;
mod setup;
mod skip;
mod slot_life;
mod standby;
mod startup_errors;
mod staying_connected;
mod stopping;
mod torture;
mod two_daemons;
mod types;
