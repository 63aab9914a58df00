//! The command line: one file for each command. Only here is anything printed, and errors become words and an exit code.

mod context;
mod core_dump;
pub mod demo;
mod failure;
mod healthcheck;
mod integrations;
mod notification;
mod org;
mod output;
mod packaging;
mod prompt;
pub mod serve;
mod setup;
mod status;
mod table;

use std::convert::Infallible;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::runtime::{Builder, Runtime};

use crate::config::Settings;
use crate::model::Secret;
use crate::pipeline::other_threads;

/// Turns every committed row change of a WebhookDB database into a signed HTTP notification
#[derive(Parser, Debug)]
#[command(name = "webhookdb", version, arg_required_else_help = true)]
struct Cli {
    /// The config file; otherwise ./config.toml, then /etc/webhookdb/config.toml
    #[arg(long, global = true, env = "WEBHOOKDB_CONFIG", value_name = "PATH")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Prepare the databases: schema, publication, replica identities, slot; may be run any number of times
    Setup(setup::SetupArgs),
    /// Run the daemon
    Serve,
    /// Show slots, lag, checkpoints and subscriptions; exits 1 where something is wrong
    Status(status::StatusArgs),
    /// Ask the daemon of this machine whether it is well: for a container's health check
    Healthcheck(healthcheck::HealthcheckArgs),
    /// Create and list organizations, in a database that has no WebhookDB beside it
    #[command(subcommand, visible_alias = "organization")]
    Org(org::OrgCommand),
    /// Add, list and remove integrations, in a database that has no WebhookDB beside it
    #[command(subcommand, visible_alias = "integration")]
    Integrations(integrations::IntegrationsCommand),
    /// Create, list, test, pause and delete notification subscriptions; look at what failed and send it again
    #[command(subcommand, visible_aliases = ["notifications", "webhook", "webhooks"])]
    Notification(notification::NotificationCommand),
    /// Show the main job, whole, on a throwaway Postgres
    Demo(demo::DemoArgs),
    /// Print the completions of a shell
    Completions(packaging::CompletionsArgs),
    /// Print the man page, or write those of all commands
    Man(packaging::ManArgs),
}

/// Runs the command that the process's arguments say, and tells how the process is to end.
#[must_use]
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and the version are printed this way too, and end well.
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    if let Err(error) = core_dump::forbid() {
        output::warn(&format!("a crash may leave a core dump, with secrets in it: {error}"));
    }
    let done = runtime().map_err(Into::into).and_then(|runtime| {
        let done = runtime.block_on(dispatch(cli));
        // A task that hangs (a name being resolved) must not hold up the end.
        runtime.shutdown_background();
        done
    });
    done.unwrap_or_else(|error| failure::tell(&error))
}

fn runtime() -> std::io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(other_threads()).enable_all().build()
}

/// An argument's value that is no part of any message, even where it can't be used.
#[allow(clippy::unnecessary_wraps, reason = "what clap asks for")]
fn unseen(value: &str) -> Result<Secret, Infallible> {
    Ok(Secret::new(value.to_owned()))
}

async fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    let settings = || Settings::load(cli.config.as_deref());
    match cli.command {
        Command::Setup(args) => Box::pin(setup::run(&settings()?, args)).await?,
        Command::Serve => Box::pin(serve::run(cli.config.clone(), settings()?)).await?,
        Command::Status(args) => return Box::pin(status::run(&settings()?, args)).await,
        Command::Healthcheck(args) => healthcheck::run(&settings()?, args).await?,
        Command::Org(command) => org::run(&settings()?, command).await?,
        Command::Integrations(command) => Box::pin(integrations::run(&settings()?, command)).await?,
        Command::Notification(command) => Box::pin(notification::run(&settings()?, command)).await?,
        Command::Demo(args) => Box::pin(demo::run(args)).await?,
        Command::Completions(args) => packaging::completions(args)?,
        Command::Man(args) => packaging::man(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_alias_of_notification_is_understood() {
        for alias in ["notification", "notifications", "webhook", "webhooks"] {
            let cli = Cli::try_parse_from(["webhookdb", alias, "list"]).unwrap();
            assert!(matches!(cli.command, Command::Notification(_)));
        }
    }

    #[test]
    fn a_subscription_is_of_one_integration_or_of_one_organization() {
        let create = |scope: &[&str]| {
            Cli::try_parse_from([&["webhookdb", "notification", "create"], scope].concat()).map(|_| ())
        };
        assert!(create(&["--integration=svi_1"]).is_ok());
        assert!(create(&["--org", "acme_corp"]).is_ok());
        assert!(create(&[]).is_err());
        assert!(create(&["--integration=svi_1", "--org=acme_corp"]).is_err());
    }
}
