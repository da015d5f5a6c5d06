//! Export to, and import from, flag definitions of flagd.
//!
//! flagd evaluates what is exported to the same answer for the same targetingKey: hash and arithmetic
//! are those of its `fractional` operation, version 3. What flagd cannot say is an error that names
//! the flag, and never a definition that means something else.
//!
//! Without a targetingKey a share is off and variants give way to the flag's value, in both.

mod export;
mod import;

pub use export::export;
pub use import::import;

/// Why a definition cannot be exported or imported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("flag `{key}` {problem}")]
pub struct FlagdError {
    /// The flag concerned; empty where it is the file.
    pub key: String,
    /// What cannot be done.
    pub problem: String,
}

/// The schema that the definitions follow.
const SCHEMA: &str = "https://flagd.dev/schema/v0/flags.json";

#[cfg(test)]
mod tests;
