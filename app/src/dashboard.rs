//! The page that shows a migration: its files, embedded in the binary.
//!
//! Invariants: the page works without a network and without a build step, so every file that it
//! asks for is listed here as it stands in `dashboard/`; what is not listed is not served. The
//! tests hold the list against the folder and against what the files import.

use std::sync::LazyLock;

use sha2::{Digest as _, Sha256};

/// A file of the page.
#[derive(Debug)]
pub(crate) struct Asset {
    /// Its path below `/assets/`; the page itself is `index.html`.
    pub(crate) path: &'static str,
    /// Its media type.
    pub(crate) media_type: &'static str,
    /// What it holds.
    pub(crate) body: &'static [u8],
    /// A strong validator, with its quotes: it changes when a byte does.
    pub(crate) etag: String,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! assets {
    ($($path:literal: $media_type:expr),+ $(,)?) => {
        LazyLock::new(|| vec![$(Asset::new($path, $media_type, include_bytes!(concat!("dashboard/", $path)))),+])
    };
}

static ASSETS: LazyLock<Vec<Asset>> = assets! {
    "index.html": HTML,
    "page.css": CSS,
    "icon.svg": SVG,
    "main.mjs": SCRIPT,
    "api.mjs": SCRIPT,
    "model/alerts.mjs": SCRIPT,
    "model/format.mjs": SCRIPT,
    "model/headline.mjs": SCRIPT,
    "model/journal.mjs": SCRIPT,
    "model/lanes.mjs": SCRIPT,
    "model/pools.mjs": SCRIPT,
    "model/rules.mjs": SCRIPT,
    "model/series.mjs": SCRIPT,
    "model/stages.mjs": SCRIPT,
    "model/wording.mjs": SCRIPT,
    "view/commands.mjs": SCRIPT,
    "view/elements.mjs": SCRIPT,
    "view/journal.mjs": SCRIPT,
    "view/plots.mjs": SCRIPT,
    "view/progress.mjs": SCRIPT,
    "view/tables.mjs": SCRIPT,
    "vendor/uplot/uPlot.iife.min.js": SCRIPT,
    "vendor/uplot/uPlot.min.css": CSS,
};

impl Asset {
    fn new(path: &'static str, media_type: &'static str, body: &'static [u8]) -> Self {
        Self {
            path,
            media_type,
            body,
            etag: format!("\"{}\"", &sha256(body)[..32]),
        }
    }

    /// The file at a path below `/assets/`.
    pub(crate) fn find(path: &str) -> Option<&'static Self> {
        ASSETS.iter().find(|asset| asset.path == path)
    }

    /// The page itself.
    pub(crate) fn page() -> &'static Self {
        &ASSETS[0]
    }
}

fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::Path;

    use super::*;

    fn folder() -> &'static Path {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/dashboard"))
    }

    /// Every file below `folder`, by its path from `root`.
    fn files(root: &Path, folder: &Path) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.extend(files(root, &path));
            } else {
                let path = path.strip_prefix(root).unwrap();
                found.insert(path.to_str().unwrap().to_owned());
            }
        }
        found
    }

    fn text(asset: &Asset) -> &'static str {
        std::str::from_utf8(asset.body).unwrap()
    }

    /// What stands between quotes after `word`.
    fn quoted_after<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = &'a str> {
        text.match_indices(word)
            .filter_map(move |(at, _)| text[at + word.len()..].split('"').next())
    }

    #[test]
    fn the_list_is_what_stands_in_the_folder() {
        let served = files(folder(), folder())
            .into_iter()
            .filter(|path| !path.starts_with("tests/"))
            .filter(|path| !path.ends_with("/LICENSE") && !path.ends_with("/vendored.toml"))
            .collect::<BTreeSet<_>>();
        let listed: BTreeSet<String> = ASSETS.iter().map(|asset| asset.path.to_owned()).collect();
        assert_eq!(listed.len(), ASSETS.len(), "a file is listed twice");
        assert_eq!(listed, served);
        assert_eq!(Asset::page().path, "index.html");
    }

    #[test]
    fn whatever_a_file_asks_for_is_served() {
        for asset in ASSETS
            .iter()
            .filter(|asset| !asset.path.starts_with("vendor/"))
        {
            let text = text(asset);
            for path in quoted_after(text, "\"/assets/").map(|rest| rest.to_owned()) {
                assert!(Asset::find(&path).is_some(), "{}: {path}", asset.path);
            }
            for import in quoted_after(text, " from \"") {
                let here = Path::new(asset.path).parent().unwrap();
                let mut parts: Vec<&str> = here.iter().map(|part| part.to_str().unwrap()).collect();
                for part in import.split('/') {
                    match part {
                        "." => {}
                        ".." => assert!(parts.pop().is_some(), "{}: {import}", asset.path),
                        part => parts.push(part),
                    }
                }
                let path = parts.join("/");
                assert!(Asset::find(&path).is_some(), "{}: {import}", asset.path);
            }
        }
    }

    #[test]
    fn nothing_is_inline_and_nothing_comes_from_elsewhere() {
        let page = text(Asset::page());
        for script in page.match_indices("<script").map(|(at, _)| &page[at..]) {
            let tag = &script[..script.find('>').unwrap()];
            assert!(tag.contains(" src=\"/assets/"), "{tag}");
            assert!(script[tag.len()..].starts_with("></script>"), "{tag}");
        }
        for forbidden in [
            "<style",
            " style=",
            " onclick=",
            " onload=",
            "http:",
            "https:",
        ] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
        for asset in ASSETS
            .iter()
            .filter(|asset| !asset.path.starts_with("vendor/"))
        {
            for forbidden in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "localStorage",
            ] {
                assert!(
                    !text(asset).contains(forbidden),
                    "{}: {forbidden}",
                    asset.path
                );
            }
        }
    }

    #[test]
    fn what_is_vendored_is_what_was_published() {
        #[derive(serde::Deserialize)]
        struct Vendored {
            version: String,
            source: String,
            sha256: BTreeMap<String, String>,
        }
        let folder = folder().join("vendor/uplot");
        let manifest = std::fs::read_to_string(folder.join("vendored.toml")).unwrap();
        let vendored: Vendored = toml::from_str(&manifest).unwrap();
        assert!(vendored.source.contains(&vendored.version));
        let listed: BTreeMap<String, String> = ASSETS
            .iter()
            .filter_map(|asset| {
                let name = asset.path.strip_prefix("vendor/uplot/")?;
                Some((name.to_owned(), sha256(asset.body)))
            })
            .collect();
        assert_eq!(listed, vendored.sha256);
        let script = text(Asset::find("vendor/uplot/uPlot.iife.min.js").unwrap());
        assert!(script.contains(&format!("(v{})", vendored.version)));
        let licence = std::fs::read_to_string(folder.join("LICENSE")).unwrap();
        assert!(licence.starts_with("The MIT License"));
    }

    #[test]
    fn etags_tell_files_apart() {
        let tags: BTreeSet<&str> = ASSETS.iter().map(|asset| asset.etag.as_str()).collect();
        assert_eq!(tags.len(), ASSETS.len());
        assert!(
            tags.iter()
                .all(|tag| tag.len() == 34 && tag.starts_with('"'))
        );
    }
}
