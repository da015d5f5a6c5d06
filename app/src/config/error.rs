//! What can be wrong with a configuration: which setting, where it was written, what to do.

use std::fmt;

/// A configuration that cannot be used. One line: what is wrong, with which setting, written
/// where, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The setting's dotted name, where one setting is at fault.
    pub key: Option<String>,
    /// What is wrong.
    pub message: String,
    /// Where the setting was written: a file, an environment variable, a flag.
    pub origin: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl ConfigError {
    /// An error that belongs to no single setting.
    pub fn general(message: impl Into<String>) -> Self {
        Self {
            key: None,
            message: message.into(),
            origin: None,
            hint: None,
        }
    }

    /// An error of one setting.
    pub fn of(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            key: Some(key.into()),
            ..Self::general(message)
        }
    }

    /// Says what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says where the setting was written.
    #[must_use]
    pub fn written_in(mut self, origin: Option<String>) -> Self {
        self.origin = origin;
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(key) = &self.key {
            write!(f, "`{key}`: ")?;
        }
        f.write_str(&self.message)?;
        if let Some(origin) = &self.origin {
            write!(f, " (in {origin})")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// The known name nearest to what was written, where one is near enough to be meant.
pub(crate) fn nearest<'a>(
    written: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let known: Vec<&str> = known.into_iter().collect();
    // A name cut short is as good as a slip: `api_key` for `api_key_env`.
    let longer = |name: &&&str| written.len() >= 4 && name.starts_with(written);
    if let Some(longer) = known.iter().find(longer) {
        return Some(longer);
    }
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(written, name), name))
        .min()
        // A third of the letters wrong is a slip; more is another word.
        .filter(|(distance, name)| *distance <= (name.len().max(written.len()) / 3).max(1))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognized_and_other_words_are_not() {
        assert_eq!(nearest("bnd", ["bind", "data_dir"]), Some("bind"));
        assert_eq!(nearest("max_bdoy", ["max_body", "bind"]), Some("max_body"));
        assert_eq!(
            nearest("api_key", ["api_base", "api_key_env"]),
            Some("api_key_env")
        );
        assert_eq!(nearest("colour", ["bind", "data_dir"]), None);
    }

    #[test]
    fn the_line_says_what_where_and_what_to_do() {
        let error = ConfigError::of("server.bnd", "no such setting")
            .written_in(Some("file dspex.toml".into()))
            .hint("did you mean `server.bind`?");
        assert_eq!(
            error.to_string(),
            "`server.bnd`: no such setting (in file dspex.toml); did you mean `server.bind`?"
        );
    }
}
