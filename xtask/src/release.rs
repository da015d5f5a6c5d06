//! `cargo xtask release`: one archive with everything that an operator unpacks.
//!
//! Invariants: the archive is a function of the commit: names are sorted, times are the commit's,
//! owners are nobody, paths of the machine that built it are not in the binary. What lies in it is
//! listed in `SHA256SUMS`. Layers go over one another in order, and what one replaces is told.

mod archive;
mod build;
mod check;
mod contents;
mod layers;
mod runbooks;
mod sbom;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use self::build::Source;
use crate::interrupt::Interrupt;
use crate::places::Places;

/// What to put together.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Layers: xtask/overlays, then each --overlay in the order given. A file of a later layer takes the place of one
of an earlier layer, and that is told; {{version}}, {{commit}} and {{target}} are filled in in text files.

Exit code 0: it is there, and with --check it works.")]
pub(crate) struct Options {
    /// A folder that is laid over the release; may be given several times
    #[arg(long, value_name = "DIR")]
    overlay: Vec<PathBuf>,
    /// Where the archive goes; target/release-archives where it is not given
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Unpack it into an empty folder as another user, migrate there, and verify each part with its own tool
    #[arg(long)]
    check: bool,
    /// Build it a second time in another folder, and compare the bytes
    #[arg(long)]
    twice: bool,
}

/// Puts the release together. Answers whether all that was asked for is well.
pub(crate) fn run(options: &Options, places: &Places, interrupt: &Interrupt) -> Result<bool> {
    let source = Source::of(places)?;
    if source.dirty {
        eprintln!(
            "note: the working tree has changes that are in no commit; the archive is not one of {}",
            source.commit
        );
    }
    let output = options
        .output
        .clone()
        .unwrap_or_else(|| places.target.join("release-archives"));
    std::fs::create_dir_all(&output)
        .with_context(|| format!("cannot make the folder {}", output.display()))?;
    let binary = build::binary(places, &source, interrupt)?;
    let mut layers = layers::Layers::default();
    contents::base(&mut layers, places, &source, &binary, interrupt)?;
    for folder in &options.overlay {
        layers.lay_folder(folder, &source)?;
    }
    for told in layers.told() {
        println!("{told}");
    }
    let archive = output.join(format!("{}.tar.gz", source.name()));
    let sum = archive::write(&archive, &source, layers)?;
    println!("{sum}  {}", archive.display());
    if options.twice {
        twice(places, &source, &binary, interrupt)?;
    }
    if options.check {
        return check::run(&archive, &source, places, interrupt);
    }
    Ok(true)
}

/// Builds the binary again, in a copy of the tree, and holds the bytes against one another. All else
/// in the archive is made of it and of the tree.
fn twice(
    places: &Places,
    source: &Source,
    binary: &std::path::Path,
    interrupt: &Interrupt,
) -> Result<()> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let again = build::elsewhere(places, source, folder.path(), interrupt)?;
    let (first, second) = (archive::sum_of(binary)?, archive::sum_of(&again)?);
    if first != second {
        bail!("built in another folder, the binary has other bytes: {first} and {second}");
    }
    println!("the same bytes when built in another folder: {first}");
    Ok(())
}
