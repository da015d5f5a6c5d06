//! Who does something, and why: what every change carries into the audit.

use clap::Args;

/// Who asks for a change.
#[derive(Debug, Clone, Args)]
pub(crate) struct Who {
    /// Who does it, for the audit. The login name where it is not given.
    #[arg(long, value_name = "NAME")]
    who: Option<String>,
}

impl Who {
    /// The name given, or the login name, or `cli`.
    pub(crate) fn name(self) -> String {
        let login = ["USER", "LOGNAME"].map(|name| std::env::var(name).ok());
        choose([self.who].into_iter().chain(login))
    }
}

fn choose(names: impl IntoIterator<Item = Option<String>>) -> String {
    names
        .into_iter()
        .flatten()
        .find(|name| !name.trim().is_empty())
        .unwrap_or_else(|| "cli".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_that_says_something_is_taken() {
        let some = |name: &str| Some(name.to_owned());
        assert_eq!(choose([None, some(" "), some("ada")]), "ada");
        assert_eq!(choose([some("given"), some("ada")]), "given");
        assert_eq!(choose([None, None]), "cli");
    }
}
