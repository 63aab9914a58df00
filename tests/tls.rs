//! TLS with Postgres in every `sslmode`, and with endpoints.

mod endpoints;
mod postgres;
