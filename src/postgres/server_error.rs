//! An error that the server itself reported.

use std::fmt;

use tokio_postgres::error::{DbError, SqlState};

/// What the server said, with the SQLSTATE that decisions are made by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerError {
    sqlstate: SqlState,
    message: String,
    detail: Option<String>,
    /// It was raised in the server's half of SCRAM: where one SQLSTATE means several things, this tells them apart in every
    /// language.
    raised_in_scram: bool,
}

/// The server's half of SCRAM. What it raises as "invalid authorization" is about channel binding.
const SCRAM: &str = "auth-scram.c";

/// Classes whose DETAIL speaks of the installation, never of a row's values: it may be shown and logged.
///
/// 28 authorization, 3D database name, 42 rights and names, 53 resources, 55 state of an object, 57 intervention, 58 system.
const CLASSES_WITH_HARMLESS_DETAIL: [&str; 7] = ["28", "3D", "42", "53", "55", "57", "58"];

impl ServerError {
    /// An error of this SQLSTATE.
    #[must_use]
    pub(crate) fn new(sqlstate: SqlState, message: String, detail: Option<String>) -> Self {
        Self { sqlstate, message, detail, raised_in_scram: false }
    }

    /// The same, raised in this file of the server's.
    #[must_use]
    pub(crate) fn raised_in(self, file: Option<&str>) -> Self {
        Self { raised_in_scram: file == Some(SCRAM), ..self }
    }

    /// Whether the server found that the client's TLS session is not the one that it serves.
    pub(super) fn is_broken_binding(&self) -> bool {
        self.sqlstate == SqlState::INVALID_AUTHORIZATION_SPECIFICATION && self.raised_in_scram
    }

    /// The code that says what happened, whatever the language of the messages.
    #[must_use]
    pub fn sqlstate(&self) -> &SqlState {
        &self.sqlstate
    }

    /// The server's one-line message.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The server's second message, where it sent one; it may hold a row's values.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    fn class(&self) -> &str {
        self.sqlstate.code().get(..2).unwrap_or_default()
    }

    /// Whether the same thing may succeed later with nobody having changed anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        // Connection trouble, resources (memory, disk, connections), a serialization failure or deadlock, an object in
        // use or locked, an operator's intervention (a restart among them), and errors of the system below.
        match self.class() {
            "08" => self.sqlstate != SqlState::PROTOCOL_VIOLATION,
            "40" | "53" | "58" => true,
            "55" => [SqlState::OBJECT_IN_USE, SqlState::LOCK_NOT_AVAILABLE].contains(&self.sqlstate),
            "57" => self.sqlstate != SqlState::DATABASE_DROPPED,
            _ => false,
        }
    }

    /// What the operator should do, where the code alone tells.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match &self.sqlstate {
            code if *code == SqlState::INVALID_PASSWORD => Some(
                "check the user and the password in the url, and which password method pg_hba.conf asks of this host, user \
                 and database",
            ),
            code if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION => Some(
                "either pg_hba.conf has no line for this host, user and database (with or without TLS: see sslmode), or it \
                 asks for a client certificate of the role's name (sslcert), or the role does not exist or may not log in",
            ),
            code if *code == SqlState::INVALID_CATALOG_NAME => {
                Some("correct the database name in the url, or create the database")
            }
            code if *code == SqlState::TOO_MANY_CONNECTIONS => {
                Some("close connections that are not needed, or raise max_connections (restart needed)")
            }
            code if *code == SqlState::CANNOT_CONNECT_NOW => {
                Some("the server is starting, stopping or recovering: this passes by itself")
            }
            code if *code == SqlState::INSUFFICIENT_PRIVILEGE => {
                Some("grant the role the right that the message names, or run `webhookdb setup` as an owner")
            }
            code if *code == SqlState::DISK_FULL => Some("make room on the server's disk"),
            _ => None,
        }
    }
}

impl From<&DbError> for ServerError {
    fn from(error: &DbError) -> Self {
        Self::new(error.code().clone(), error.message().to_owned(), error.detail().map(str::to_owned))
            .raised_in(error.file())
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (SQLSTATE {})", self.message, self.sqlstate.code())?;
        match &self.detail {
            Some(detail) if CLASSES_WITH_HARMLESS_DETAIL.contains(&self.class()) => write!(f, ": {detail}"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for ServerError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: &str) -> ServerError {
        ServerError::new(SqlState::from_code(code), "said so".to_owned(), Some("Key (id)=(7) exists.".to_owned()))
    }

    #[test]
    fn what_passes_by_itself_is_told_from_what_does_not() {
        for code in ["08006", "40001", "40P01", "53300", "53100", "55006", "55P03", "57P01", "57P02", "57P03", "57014"]
        {
            assert!(error(code).is_retryable(), "{code}");
        }
        for code in ["28P01", "28000", "3D000", "42501", "42704", "55000", "57P04", "08P01", "23505", "XX000", "", "5"]
        {
            assert!(!error(code).is_retryable(), "{code}");
        }
    }

    #[test]
    fn a_detail_that_may_hold_values_is_not_shown() {
        assert_eq!(error("23505").to_string(), "said so (SQLSTATE 23505)");
        assert_eq!(error("55000").to_string(), "said so (SQLSTATE 55000): Key (id)=(7) exists.");
    }
}
