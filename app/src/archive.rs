//! One file that keeps what must not be lost: a manifest, then the members that it lists.
//!
//! The format, version 1: a tar in one gzip stream. Its first member is `manifest.json`
//! ([`Manifest`]); the others follow in the manifest's order. Any `tar xzf` can read it.
//!
//! Invariants: an archive is there whole or not at all, whoever is killed when; it is readable by
//! its owner alone. What is read was proven: each member's length and SHA-256 are the manifest's, and
//! nothing is in the file that the manifest does not list. No name leads out of the folder that is
//! extracted into.

mod error;
mod manifest;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub(crate) use self::error::ArchiveError;
pub(crate) use self::manifest::{Kind, Manifest, Member};
pub(crate) use self::reader::{extract, manifest_of};
pub(crate) use self::writer::{Content, Written, sha256, write};

/// The version of the format that is written, and the newest that is read.
pub(crate) const FORMAT: u32 = 1;

/// The name of the member that lists the others.
const MANIFEST: &str = "manifest.json";

/// What every archive begins with: gzip with deflate, no flags, no time, level 6, no system. Fixed,
/// because gzip's own checksum does not cover it.
const BEGINNING: [u8; 10] = [0x1f, 0x8b, 0x08, 0, 0, 0, 0, 0, 0, 0xff];

/// SHA-256 as hex.
fn hex(digest: impl AsRef<[u8]>) -> String {
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
