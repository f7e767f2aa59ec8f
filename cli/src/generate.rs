//! `standin completions` and `standin man`: shell completions and manual pages, made from the definition of the
//! command line, so that they can't be older than the program.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Command};
use clap_complete::Shell;

use crate::{Ended, out, pages};

/// `standin completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

/// `standin man`.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Folder for the pages: standin.1, and one for each subcommand, such as standin-server.1.
    folder: PathBuf,
}

/// Prints the completions of a shell.
pub(crate) fn completions(args: &CompletionsArgs, mut definition: Command) -> Ended {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut definition, "standin", &mut script);
    out::text(&script)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes all manual pages.
pub(crate) fn man(args: &ManArgs, definition: Command) -> Ended {
    let folder = &args.folder;
    let write = || -> Result<(), std::io::Error> {
        std::fs::create_dir_all(folder)?;
        pages::write_manual(definition, folder)
    };
    write().map_err(|error| -> Box<dyn Error> {
        format!("{}: {error}; give a folder that can be written to", folder.display()).into()
    })?;
    Ok(ExitCode::SUCCESS)
}
