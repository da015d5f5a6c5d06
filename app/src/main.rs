//! The `dspex` binary: everything it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    dspex_app::cli::main()
}
