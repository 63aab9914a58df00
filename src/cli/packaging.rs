//! What a package installs beside the program: man pages and completions, both made from the command line itself.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;
use super::output::answer_text;

/// Which completions.
#[derive(Args, Debug)]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: Shell,
    /// The name that the program is installed under, where WebhookDB's own command is beside it
    #[arg(long, default_value = "webhookdb")]
    name: String,
}

/// Which man pages.
#[derive(Args, Debug)]
pub(super) struct ManArgs {
    /// Write the page of every command into this directory, rather than the first one to stdout
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// The name that the program is installed under, where WebhookDB's own command is beside it
    #[arg(long, default_value = "webhookdb")]
    name: String,
}

pub(super) fn completions(args: CompletionsArgs) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), args.name, &mut script);
    answer_text(&String::from_utf8(script)?)
}

pub(super) fn man(args: ManArgs) -> anyhow::Result<()> {
    // Names of commands live as long as the program: clap takes no others.
    let name: &'static str = args.name.leak();
    let command = Cli::command().name(name).bin_name(name);
    let Some(directory) = args.output else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page)?;
        return answer_text(&String::from_utf8(page)?);
    };
    let at = || format!("no man pages in {}", directory.display());
    std::fs::create_dir_all(&directory).with_context(at)?;
    clap_mangen::generate_to(command, &directory).with_context(at)
}
