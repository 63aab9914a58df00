//! webhookdb-notifications: committed row changes of a WebhookDB database become signed HTTP notifications.
//!
//! The rooms stand in the order in which data flows; see ARCHITECTURE.md.

pub mod model;

pub mod seal;

pub mod config;

pub mod postgres;

pub mod source;

pub mod decode;

pub mod catalog;

pub mod setup;

pub mod route;

pub mod deliver;

pub mod outbox;

pub mod checkpoint;

pub mod admin;

pub mod service;

pub mod pipeline;

pub mod cli;

pub mod demo;
