//! Tokens: the admin API's, made at the first start; and the programs API's, where one is set.
//!
//! Invariants: no token is kept, only its SHA-256; comparison takes the same time whatever is
//! presented. A hash without salt is enough: our tokens are 32 random bytes, and one that a person
//! chose must be long (see [`MINIMUM`]).

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::paths::DataDir;

/// The shortest token that is accepted from a person, in bytes.
pub(crate) const MINIMUM: usize = 16;

/// The variable whose value becomes the admin token at the first start.
pub(crate) const ADMIN_TOKEN_ENV: &str = "DSPEX_ADMIN_TOKEN";

/// A token's hash.
#[derive(Clone, Copy)]
struct Hashed([u8; 32]);

impl Hashed {
    fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    fn matches(&self, presented: &str) -> bool {
        self.0.ct_eq(&Self::of(presented).0).into()
    }

    fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn from_hex(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
        }
        Some(Self(bytes))
    }
}

/// Who a request may speak for.
#[derive(Clone)]
pub(crate) struct Tokens {
    admin: Hashed,
    programs: Option<Hashed>,
}

/// The admin token of a first start.
///
/// It is kept once the server is ready and not before: a start that fails must not use up the one
/// time that the token is shown.
pub(crate) struct FirstToken {
    admin: Hashed,
    path: PathBuf,
    to_show: Option<String>,
}

impl FirstToken {
    /// Keeps the token's hash for the starts to come. Answers the token where it was made here, to
    /// be shown this once.
    ///
    /// # Errors
    /// [`TokenError::File`].
    pub(crate) fn keep(self) -> Result<Option<String>, TokenError> {
        // Written beside and renamed: a crash in between must not leave half a hash behind.
        let draft = self.path.with_extension("new");
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)
            .and_then(|mut file| {
                writeln!(file, "{}", self.admin.hex())?;
                file.sync_all()
            })
            .and_then(|()| std::fs::rename(&draft, &self.path))
            .map_err(|source| TokenError::File {
                path: self.path.display().to_string(),
                verb: "written",
                source,
            })?;
        Ok(self.to_show)
    }
}

/// Why the tokens cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The hash's file cannot be read or written.
    #[error("the admin token's hash {path} cannot be {verb}: {source}")]
    File {
        /// The file.
        path: String,
        /// `read`, `made` or `written`.
        verb: &'static str,
        /// The system's words.
        source: std::io::Error,
    },
    /// The file holds something else.
    #[error(
        "the file {path} does not hold a token's hash; remove it to have a new admin token made"
    )]
    Damaged {
        /// The file.
        path: String,
    },
    /// The variable holds another token than the one that was kept.
    #[error(
        "the token in {variable} is not the admin token of this data directory; remove {path} to make it so, or unset the variable"
    )]
    Changed {
        /// The variable that holds it.
        variable: &'static str,
        /// The file with the hash of the one that was kept.
        path: String,
    },
    /// A token chosen by a person is too short to be one.
    #[error("the token in {variable} is too short: use at least {MINIMUM} bytes")]
    TooShort {
        /// The variable that holds it.
        variable: String,
    },
    /// The configuration names a variable that is not set.
    #[error(
        "server.programs_token_env names the variable {variable}, which is not set in this environment"
    )]
    NotSet {
        /// The variable.
        variable: String,
    },
}

impl Tokens {
    /// Reads the admin token's hash, or takes a new token at the first start, which counts from
    /// the next start on only where it is [kept](FirstToken::keep).
    ///
    /// `chosen_admin` is the value of [`ADMIN_TOKEN_ENV`]. After the first start it must still be the
    /// same: whoever sets another one means to rotate it, and must not be left with the old one
    /// silently. `programs` is the variable named by the configuration, with its value.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub(crate) fn open(
        dir: &DataDir,
        chosen_admin: Option<&str>,
        programs: Option<(&str, Option<String>)>,
    ) -> Result<(Self, Option<FirstToken>), TokenError> {
        let programs = match programs {
            None => None,
            Some((variable, None)) => {
                return Err(TokenError::NotSet {
                    variable: variable.to_owned(),
                });
            }
            Some((variable, Some(token))) => Some(Hashed::of(checked(variable, &token)?)),
        };
        let path = dir.admin_token_hash();
        let shown = path.display().to_string();
        let file = |verb| {
            let path = shown.clone();
            move |source| TokenError::File { path, verb, source }
        };
        if path.exists() {
            let text = std::fs::read_to_string(&path).map_err(file("read"))?;
            let admin = Hashed::from_hex(&text).ok_or_else(|| TokenError::Damaged {
                path: shown.clone(),
            })?;
            if chosen_admin.is_some_and(|token| !admin.matches(token)) {
                return Err(TokenError::Changed {
                    variable: ADMIN_TOKEN_ENV,
                    path: shown,
                });
            }
            return Ok((Self { admin, programs }, None));
        }
        let (token, made) = match chosen_admin {
            Some(token) => (checked(ADMIN_TOKEN_ENV, token)?.to_owned(), false),
            None => (random_token().map_err(file("made"))?, true),
        };
        let admin = Hashed::of(&token);
        let first = FirstToken {
            admin,
            path,
            to_show: made.then_some(token),
        };
        Ok((Self { admin, programs }, Some(first)))
    }

    /// Whether a token opens the admin API.
    #[must_use]
    pub(crate) fn admin(&self, presented: Option<&str>) -> bool {
        presented.is_some_and(|token| self.admin.matches(token))
    }

    /// Whether a token opens the programs API. The admin token does too; where no programs token is
    /// set, no token is needed.
    #[must_use]
    pub(crate) fn programs(&self, presented: Option<&str>) -> bool {
        self.programs.is_none() || self.known(presented)
    }

    /// Whether a token is one of ours, whichever API it opens.
    #[must_use]
    pub(crate) fn known(&self, presented: Option<&str>) -> bool {
        presented.is_some_and(|token| {
            let programs = self.programs.is_some_and(|hash| hash.matches(token));
            programs | self.admin.matches(token)
        })
    }
}

fn checked<'a>(variable: &str, token: &'a str) -> Result<&'a str, TokenError> {
    if token.len() < MINIMUM {
        return Err(TokenError::TooShort {
            variable: variable.to_owned(),
        });
    }
    Ok(token)
}

/// 32 bytes from the kernel, as hex behind a prefix that secret scanners can know.
fn random_token() -> std::io::Result<String> {
    let mut bytes = [0_u8; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(format!("dspex_{}", Hashed(bytes).hex()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_made_token_is_told_once_and_known_after() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::new(dir.path());
        let (_, abandoned) = Tokens::open(&data, None, None).unwrap();
        drop(abandoned);
        let (tokens, first) = Tokens::open(&data, None, None).unwrap();
        let first = first.expect("a start that failed does not count");
        let token = first.keep().unwrap().expect("it was made here");
        assert!(token.starts_with("dspex_") && token.len() == 6 + 64);
        assert!(tokens.admin(Some(&token)));
        assert!(!tokens.admin(Some(&token[..20])) && !tokens.admin(None));

        for chosen in [None, Some(token.as_str())] {
            let (again, made) = Tokens::open(&data, chosen, None).unwrap();
            assert!(made.is_none());
            assert!(again.admin(Some(&token)));
        }

        let path = data.admin_token_hash();
        assert!(!std::fs::read_to_string(&path).unwrap().contains(&token));
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn another_token_than_the_kept_one_is_refused_until_its_hash_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::new(dir.path());
        let open = |token| Tokens::open(&data, Some(token), None);
        let (_, first) = open("chosen-by-a-person").unwrap();
        first.unwrap().keep().unwrap();
        let Err(error) = open("another-token-of-mine") else {
            panic!("it was ignored");
        };
        let path = data.admin_token_hash();
        let text = error.to_string();
        assert!(text.contains(path.to_str().unwrap()), "{text}");
        assert!(text.contains(ADMIN_TOKEN_ENV), "{text}");
        assert!(!text.contains("another-token-of-mine"), "{text}");

        std::fs::remove_file(path).unwrap();
        let (tokens, _) = open("another-token-of-mine").unwrap();
        assert!(tokens.admin(Some("another-token-of-mine")));
    }

    #[test]
    fn a_chosen_token_is_used_at_the_first_start_and_not_told() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::new(dir.path());
        assert!(matches!(
            Tokens::open(&data, Some("short"), None),
            Err(TokenError::TooShort { .. })
        ));
        let (tokens, first) = Tokens::open(&data, Some("chosen-by-a-person"), None).unwrap();
        assert_eq!(first.unwrap().keep().unwrap(), None);
        assert!(tokens.admin(Some("chosen-by-a-person")));
    }

    #[test]
    fn the_programs_api_is_open_until_it_has_a_token() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::new(dir.path());
        let admin = "chosen-by-a-person";
        let (open, first) = Tokens::open(&data, Some(admin), None).unwrap();
        first.unwrap().keep().unwrap();
        assert!(open.programs(None));
        let named = |value: Option<&str>| Some(("CALLERS", value.map(str::to_owned)));
        let (guarded, _) = Tokens::open(&data, None, named(Some("for-the-callers-only"))).unwrap();
        assert!(!guarded.programs(None));
        assert!(guarded.programs(Some("for-the-callers-only")));
        assert!(!guarded.admin(Some("for-the-callers-only")));
        assert!(guarded.programs(Some(admin)));
        assert!(matches!(
            Tokens::open(&data, None, named(None)),
            Err(TokenError::NotSet { .. })
        ));
    }

    #[test]
    fn a_damaged_hash_is_not_taken_for_one() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::new(dir.path());
        for text in ["", "zz", &"é".repeat(32)] {
            std::fs::write(data.admin_token_hash(), text).unwrap();
            assert!(matches!(
                Tokens::open(&data, None, None),
                Err(TokenError::Damaged { .. })
            ));
        }
    }
}
