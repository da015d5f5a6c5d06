//! What the operating system grants: the port, open files, and the variables that hold secrets.

use std::net::TcpListener;

use rustix::process::{Resource, getrlimit};

use super::{Check, Verdict};
use crate::config::Config;

pub(crate) fn examine(config: &Config) -> Vec<Check> {
    let mut checks = vec![port(&config.server.bind.to_string())];
    if !config.server.bind.ip().is_loopback() {
        checks.push(exposure(config.server.programs_token_env.as_deref()));
    }
    checks.push(open_files(config));
    let keys = config.lms.iter().filter_map(|(name, profile)| {
        let variable = profile.api_key_env.as_deref()?;
        Some(secret(
            format!("key of model {name:?}"),
            variable,
            Verdict::Warning,
        ))
    });
    checks.extend(keys);
    if let Some(variable) = &config.server.programs_token_env {
        checks.push(secret(
            "programs token".to_owned(),
            variable,
            Verdict::Unfit,
        ));
    }
    checks
}

fn port(address: &str) -> Check {
    let check = |value: String| Check::ok("port", format!("{address} {value}"), "free");
    match TcpListener::bind(address) {
        Ok(_) => check("is free".to_owned()),
        Err(error) => {
            let hint = match error.kind() {
                std::io::ErrorKind::AddrInUse => {
                    "another program listens there: stop it, or choose another with --bind"
                }
                std::io::ErrorKind::PermissionDenied => {
                    "ports below 1024 need a privilege: choose another with --bind"
                }
                std::io::ErrorKind::AddrNotAvailable => {
                    "this machine does not have that address: choose another with --bind"
                }
                _ => "choose another with --bind",
            };
            check(format!("cannot be bound: {error}")).but(Verdict::Unfit, hint)
        }
    }
}

/// An address that other machines can reach asks for a token.
fn exposure(variable: Option<&str>) -> Check {
    let limit = "a token for the programs API, on addresses that other machines can reach";
    match variable {
        Some(variable) => Check::ok("exposure", format!("token in {variable}"), limit),
        None => Check::ok("exposure", "no token", limit).but(
            Verdict::Unfit,
            "name a variable that holds one in server.programs_token_env, or bind 127.0.0.1",
        ),
    }
}

/// Descriptors beside the connections: the database, workers' wires, logs.
const OWN_FILES: u64 = 128;

fn open_files(config: &Config) -> Check {
    let connections = u64::try_from(config.server.max_connections).unwrap_or(u64::MAX);
    let wanted = connections.saturating_add(OWN_FILES);
    let limit = format!("{wanted} (server.max_connections and {OWN_FILES} more)");
    match getrlimit(Resource::Nofile).current {
        Some(granted) if granted < wanted => Check::ok("open files", granted.to_string(), &limit)
            .but(
                Verdict::Warning,
                format!("raise it with `ulimit -n {wanted}`, or lower server.max_connections"),
            ),
        granted => {
            let granted = granted.map_or("unlimited".to_owned(), |granted| granted.to_string());
            Check::ok("open files", granted, &limit)
        }
    }
}

/// Whether a variable that should hold a secret is there; never what it holds.
fn secret(name: String, variable: &str, verdict: Verdict) -> Check {
    if std::env::var_os(variable).is_some_and(|value| !value.is_empty()) {
        Check::ok(name, format!("{variable} is set"), "set")
    } else {
        Check::ok(name, format!("{variable} is not set"), "set").but(
            verdict,
            format!("set {variable} in the server's environment"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_unfit_and_a_free_one_is_not() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        assert_eq!(port(&address).verdict, Verdict::Unfit);
        assert_eq!(port("127.0.0.1:0").verdict, Verdict::Ok);
    }

    #[test]
    fn a_missing_secret_is_named_and_never_shown() {
        let missing = secret(
            "key".to_owned(),
            "DSPEX_TEST_NO_SUCH_VARIABLE",
            Verdict::Warning,
        );
        assert_eq!(missing.verdict, Verdict::Warning);
        let path = secret("key".to_owned(), "PATH", Verdict::Unfit);
        assert_eq!(
            (path.verdict, path.value.as_str()),
            (Verdict::Ok, "PATH is set")
        );
    }
}
