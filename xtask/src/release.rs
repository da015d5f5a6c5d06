//! `cargo xtask release`: one archive with everything that an operator unpacks.
//!
//! Invariants: the archive is a function of the commit and of the folders given: all of it is made from
//! what git has there, names are sorted, times are the commit's, owners are nobody, paths of the machine
//! that built it are not in the binary. What lies in it is listed in `SHA256SUMS`. Layers go over one
//! another in order, and what one replaces is told.

mod archive;
mod build;
mod check;
mod contents;
mod layers;
mod runbooks;
mod sbom;
mod tree;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use self::build::Source;
use self::layers::Layers;
use crate::interrupt::Interrupt;
use crate::places::Places;

/// What to put together.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
It is made from the last commit; what is in none is left out and named.

Layers: xtask/overlays, then each --overlay in the order given. A file of a later layer takes the place of one
of an earlier layer, and that is told; what the build made and SHA256SUMS cannot be replaced. {{version}},
{{commit}} and {{target}} are filled in in text files.

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
    /// Make it a second time, all of it, in another folder, and compare the bytes
    #[arg(long)]
    twice: bool,
}

/// Puts the release together. Answers whether all that was asked for is well.
pub(crate) fn run(options: &Options, places: &Places, interrupt: &Interrupt) -> Result<bool> {
    let commit = tree::head(&places.root)?;
    if let Some(changes) = tree::left_out(&places.root)? {
        eprintln!(
            "note: the release is made of commit {commit}; what is in no commit is left out:\n  {changes}"
        );
    }
    let output = options
        .output
        .clone()
        .unwrap_or_else(|| places.target.join("release-archives"));
    std::fs::create_dir_all(&output)
        .with_context(|| format!("cannot make the folder {}", output.display()))?;
    // The same place each time, and neither the working copy nor its own `release`: a path and flags that
    // differ would have everything built again.
    let tree = places.target.join("release-tree");
    let target = places.target.join("release-build");
    tree::export(&places.root, &commit, &tree)?;
    let source = Source::of(&places.root, &commit, &tree)?;
    let work = Work {
        options,
        places,
        source: &source,
        interrupt,
    };
    let layers = work.assemble(&tree, &target)?;
    for told in layers.told() {
        println!("{told}");
    }
    let archive = output.join(format!("{}.tar.gz", source.name()));
    let sum = archive::write(&archive, &source, &layers)?;
    println!("{sum}  {}", archive.display());
    if options.twice {
        work.again(&layers, &sum)?;
    }
    if options.check {
        return check::run(&archive, &source, places, interrupt);
    }
    Ok(true)
}

struct Work<'a> {
    options: &'a Options,
    places: &'a Places,
    source: &'a Source,
    interrupt: &'a Interrupt,
}

impl Work<'_> {
    /// All that goes into the archive, of the commit's files in `tree`.
    fn assemble(&self, tree: &Path, target: &Path) -> Result<Layers> {
        let (source, interrupt) = (self.source, self.interrupt);
        let binary = build::binary(self.places, source, tree, target, interrupt)?;
        let mut layers = Layers::default();
        contents::base(&mut layers, tree, source, &binary, interrupt)?;
        for folder in &self.options.overlay {
            layers.lay_folder(folder, &folder.display().to_string(), source)?;
        }
        Ok(layers)
    }

    /// Makes the archive once more, in another folder, from the commit to the last byte, and holds it
    /// against the first.
    fn again(&self, layers: &Layers, sum: &str) -> Result<()> {
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let tree = folder.path().join("tree");
        tree::export(&self.places.root, &self.source.commit, &tree)?;
        let again = self.assemble(&tree, &folder.path().join("target"))?;
        let archive = folder.path().join("again.tar.gz");
        let second = archive::write(&archive, self.source, &again)?;
        if sum != second {
            bail!(
                "made in another folder, the archive has other bytes, {sum} and {second}; these files differ: {}",
                layers.differing(&again).join(", ")
            );
        }
        println!("the same bytes, all of them, when made in another folder: {second}");
        Ok(())
    }
}
