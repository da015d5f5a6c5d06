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
    /// The name given, or the login name, or that of the user as whom this process runs, or `cli`.
    pub(crate) fn name(self) -> String {
        let login = ["USER", "LOGNAME"].map(|name| std::env::var(name).ok());
        // Cron, systemd and containers set neither variable.
        let user = std::fs::read_to_string("/etc/passwd")
            .ok()
            .and_then(|users| user(&users, rustix::process::getuid().as_raw()));
        choose([self.who].into_iter().chain(login).chain([user]))
    }
}

/// The name of the user with this number, in the form of `/etc/passwd`.
fn user(users: &str, number: u32) -> Option<String> {
    let number = number.to_string();
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, uid) = (fields.next()?, fields.next()?, fields.next()?);
        (uid == number).then(|| name.to_owned())
    })
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
        let users = "root:x:0:0:root:/root:/bin/sh\n# a remark\n\nada:x:1000:1000::/srv/ada:\n";
        assert_eq!(user(users, 1000).as_deref(), Some("ada"));
        assert_eq!(user(users, 0).as_deref(), Some("root"));
        assert_eq!(user(users, 10), None);
    }
}
