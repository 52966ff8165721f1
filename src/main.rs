//! The command line, the log, the exit code.

use std::process::ExitCode;

use gatehouse::cli;

fn main() -> ExitCode {
    ExitCode::from(cli::main())
}
