//! What is measured: dspex on each of its pools, and servers of other makers, with how each is started.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use toml::Table;

use super::Http;
use crate::interrupt::Interrupt;
use crate::live::setup;
use crate::places::Places;
use crate::python::Python;
use crate::surroundings::{answer, python_versions};
use crate::venv::Venv;

/// Processes that run the callable. `bench/http/bentoml_service.py` has the number too.
pub(super) const WORKERS: u32 = 2;
/// Kept-alive connections, each with one request at a time.
pub(super) const CONNECTIONS: u32 = 16;

/// One server.
#[derive(Debug)]
pub(super) struct Contender {
    /// Such as `http/dspex-v2`.
    pub(super) name: String,
    pub(super) how: How,
}

/// How it is started.
#[derive(Debug)]
pub(super) enum How {
    /// dspex, with this configuration but for the folder of its data.
    Dspex { binary: PathBuf, config: Table },
    /// A command, in which `{port}` stands for the port, and the path of the echo.
    Rival {
        program: PathBuf,
        arguments: Vec<String>,
        /// `bench/http`.
        folder: PathBuf,
        path: &'static str,
    },
}

impl Contender {
    fn dspex(pool: &str, binary: &Path, python: &Path, programs: &Path) -> Result<Self> {
        let mut settings = json!({ "kind": format!("pool-{pool}"), "workers": WORKERS });
        if pool == "v2" {
            // Room for all that is in flight: what waits, waits in a worker.
            settings["concurrency"] = (CONNECTIONS / WORKERS).into();
        }
        let config = json!({
            "server": { "bind": "127.0.0.1:0" },
            // As the others, which write no line for a request either.
            "log": { "filter": "warn" },
            "lanes": { "stable": pool, "candidate": "" },
            "python": { "executable": python, "path": [programs], "allow_modules": ["echo"] },
            "pools": { (pool): settings },
        });
        Ok(Self {
            name: format!("http/dspex-{pool}"),
            how: How::Dspex {
                binary: binary.to_owned(),
                config: Table::try_from(config).context("dspex's settings are no TOML")?,
            },
        })
    }
}

/// A venv, and the servers that it has.
struct Kit {
    venv: &'static str,
    /// In `bench/http`.
    requirements: &'static str,
    /// Whose versions are written down.
    packages: &'static [&'static str],
    servers: &'static [Rival],
    /// Measured with `--rivals` only.
    far: bool,
}

struct Rival {
    name: &'static str,
    /// In the venv.
    tool: &'static str,
    /// `{port}` stands for the port and `{workers}` for their number.
    arguments: &'static str,
    path: &'static str,
}

const UVICORN: &str = "fastapi_app:app --host 127.0.0.1 --port {port} --workers {workers} --log-level warning \
     --no-access-log";

const KITS: [Kit; 4] = [
    Kit {
        venv: "http",
        requirements: "requirements.txt",
        packages: &["fastapi", "uvicorn", "uvloop", "gunicorn"],
        servers: &[
            Rival {
                name: "fastapi-uvicorn",
                tool: "uvicorn",
                arguments: UVICORN,
                path: "/loop",
            },
            Rival {
                name: "fastapi-uvicorn-threads",
                tool: "uvicorn",
                arguments: UVICORN,
                path: "/threads",
            },
            Rival {
                name: "fastapi-gunicorn",
                tool: "gunicorn",
                arguments: "fastapi_app:app --bind 127.0.0.1:{port} --workers {workers} \
                            --worker-class uvicorn.workers.UvicornWorker --log-level warning",
                path: "/loop",
            },
        ],
        far: false,
    },
    Kit {
        venv: "http-litserve",
        requirements: "requirements-litserve.txt",
        packages: &["litserve"],
        servers: &[Rival {
            name: "litserve",
            tool: "python",
            arguments: "litserve_server.py {port} {workers}",
            path: "/predict",
        }],
        far: true,
    },
    Kit {
        venv: "http-bentoml",
        requirements: "requirements-bentoml.txt",
        packages: &["bentoml"],
        servers: &[Rival {
            name: "bentoml",
            tool: "bentoml",
            arguments: "serve bentoml_service:Echo --host 127.0.0.1 --port {port}",
            path: "/echo",
        }],
        far: true,
    },
    Kit {
        venv: "http-ray",
        requirements: "requirements-ray.txt",
        packages: &["ray"],
        servers: &[Rival {
            name: "ray-serve",
            tool: "python",
            arguments: "ray_server.py {port} {workers}",
            path: "/echo",
        }],
        far: true,
    },
];

/// All of them, in the order of a round.
#[derive(Debug)]
pub(super) struct Contenders {
    pub(super) list: Vec<Contender>,
    /// What cannot be measured here, with the reason.
    pub(super) absent: Vec<(String, String)>,
    /// What was measured, in which version.
    pub(super) versions: BTreeMap<String, String>,
}

impl Contenders {
    /// Makes the venvs, and builds dspex where no binary is named.
    pub(super) fn prepare(http: &Http, places: &Places, interrupt: &Interrupt) -> Result<Self> {
        let base = Python::find("DSPEX_BENCH_PYTHON")?;
        // The workers' Python is the one of `bench pool`: with what dspex recommends beside it.
        let requirements = [places.root.join("pool/python/requirements-dspy.txt")];
        let workers = Venv::ensure(places, "bench", &base, &requirements, interrupt)?.python();
        let binary = match &http.binary {
            // The server is started in a folder of its own.
            Some(binary) => std::path::absolute(binary).context("the path of the binary")?,
            None => setup::build(places, interrupt)?,
        };
        let programs = places.root.join("bench/http");
        let mut contenders = Self {
            list: vec![
                Contender::dspex("v2", &binary, &workers, &programs)?,
                Contender::dspex("v1", &binary, &workers, &programs)?,
            ],
            absent: Vec::new(),
            versions: python_versions(&workers, &["orjson"]),
        };
        let version = answer(Command::new(&binary).arg("--version"));
        let version = version.trim_start_matches("dspex ").to_owned();
        contenders.versions.insert("dspex".to_owned(), version);
        for kit in &KITS {
            contenders.add(kit, http, places, &base, interrupt)?;
        }
        if let Some(only) = &http.only {
            let wanted = format!("http/{}", only.trim_start_matches("http/"));
            contenders.list.retain(|one| one.name.starts_with(&wanted));
            ensure!(
                !contenders.list.is_empty(),
                "nothing that is measured begins with {only:?}"
            );
        }
        Ok(contenders)
    }

    fn add(
        &mut self,
        kit: &Kit,
        http: &Http,
        places: &Places,
        base: &Python,
        interrupt: &Interrupt,
    ) -> Result<()> {
        if kit.far && !http.rivals {
            self.lack(kit, "it is measured with --rivals only");
            return Ok(());
        }
        let folder = places.root.join("bench/http");
        let requirements = [folder.join(kit.requirements)];
        let venv = match Venv::ensure(places, kit.venv, base, &requirements, interrupt) {
            Ok(venv) => venv,
            Err(error) => {
                interrupt.check()?;
                eprintln!("{} cannot be installed: {error:#}", kit.venv);
                let why = format!("it cannot be installed here: {}", reason(&error));
                self.lack(kit, &why);
                return Ok(());
            }
        };
        self.versions
            .extend(python_versions(&venv.python(), kit.packages));
        for rival in kit.servers {
            let arguments = rival.arguments.replace("{workers}", &WORKERS.to_string());
            self.list.push(Contender {
                name: format!("http/{}", rival.name),
                how: How::Rival {
                    program: venv.tool(rival.tool),
                    arguments: arguments.split_whitespace().map(str::to_owned).collect(),
                    folder: folder.clone(),
                    path: rival.path,
                },
            });
        }
        Ok(())
    }

    fn lack(&mut self, kit: &Kit, why: &str) {
        let servers = kit.servers.iter();
        self.absent
            .extend(servers.map(|rival| (format!("http/{}", rival.name), why.to_owned())));
    }
}

/// Why something cannot be measured, in one line that can be published: what a log says is wrong where
/// it says so, and no commands and paths of this machine.
pub(super) fn reason(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    let said = text.lines().find(|line| {
        let word = line.get(..5).unwrap_or_default();
        word.eq_ignore_ascii_case("error")
    });
    said.map_or_else(
        || text.lines().next().unwrap_or_default().to_owned(),
        str::to_owned,
    )
}

#[cfg(test)]
mod tests {
    use super::super::page::NAMES;
    use super::*;

    #[test]
    fn every_contender_has_a_row() {
        let rivals = KITS.iter().flat_map(|kit| kit.servers);
        let mut names: Vec<String> = rivals
            .map(|rival| format!("http/{}", rival.name))
            .chain(["v1", "v2"].map(|pool| format!("http/dspex-{pool}")))
            .collect();
        let mut rows: Vec<&str> = NAMES.iter().map(|(contender, _)| *contender).collect();
        names.sort();
        rows.sort_unstable();
        assert_eq!(names, rows);
    }

    #[test]
    fn a_reason_is_what_the_log_says_is_wrong() {
        let error =
            anyhow::anyhow!("/a/path/pip failed; the end of its log:\nmore\nERROR: no room")
                .context("cannot install the packages");
        assert_eq!(reason(&error), "ERROR: no room");
        assert_eq!(reason(&anyhow::anyhow!("it is\nmute")), "it is");
    }

    #[test]
    fn dspex_is_told_as_many_workers_as_the_others() {
        for pool in ["v1", "v2"] {
            let path = Path::new("/a \"quoted\" path");
            let contender = Contender::dspex(pool, path, path, path).expect("TOML");
            let How::Dspex { config, .. } = contender.how else {
                panic!("it is dspex");
            };
            let read: Table = config.to_string().parse().expect("TOML");
            assert_eq!(read["lanes"]["stable"].as_str(), Some(pool));
            assert_eq!(read["pools"][pool]["workers"].as_integer(), Some(2));
            assert_eq!(
                read["python"]["executable"].as_str(),
                Some("/a \"quoted\" path")
            );
        }
    }
}
