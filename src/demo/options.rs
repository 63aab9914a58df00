//! What a throwaway server should have beyond the defaults.

/// What a server should have beyond the defaults.
#[derive(Clone, Debug, Default)]
pub struct PostgresOptions {
    pub(super) superuser_password: Option<String>,
    pub(super) settings: Vec<(String, String)>,
}

impl PostgresOptions {
    /// Sets a parameter of `postgresql.conf`; the last word on a name wins, over the defaults too.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Asks everybody for a password (SCRAM-SHA-256) instead of trusting everybody; this is the superuser's.
    #[must_use]
    pub fn superuser_password(mut self, password: &str) -> Self {
        self.superuser_password = Some(password.to_owned());
        self
    }
}
