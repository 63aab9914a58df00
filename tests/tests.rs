//! The behaviour of the real binary against a real Postgres and real HTTP endpoints; `support` is the harness.

mod support;

mod harness;
