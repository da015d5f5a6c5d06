//! What loading must do, whatever the source.

use serde_json::json;

use super::*;

fn load(file: &str, environment: &[(&str, &str)], set: &[&str]) -> Result<Config, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.toml");
    std::fs::write(&path, file).unwrap();
    Config::load(&Sources {
        file: Some(path),
        environment: environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        set: set.iter().map(|text| (*text).to_owned()).collect(),
    })
}

fn refused(file: &str) -> String {
    load(file, &[], &[]).unwrap_err().to_string()
}

#[test]
fn the_defaults_are_valid_and_are_those_of_the_crates() {
    let config = load("", &[], &[]).unwrap();
    assert_eq!(config.router, dspex_router::RouterConfig::default());
    assert_eq!(config.migration, dspex_migration::Settings::default());
    let validation = dspex_migration::ValidationSettings::default();
    assert_eq!(config.validation, validation);
    assert!(config.server.bind.ip().is_loopback());
    assert!(config.python.allow_modules.is_empty());
    assert!(config.pools.contains_key(&config.lanes.stable));
}

#[test]
fn every_setting_of_the_crates_is_documented() {
    let documented: toml::Table = toml::from_str(DEFAULT_TOML).unwrap();
    fn missing(all: &toml::Table, documented: &toml::Table, path: &str, found: &mut Vec<String>) {
        for (key, value) in all {
            let path = format!("{path}.{key}");
            match (value, documented.get(key)) {
                (_, None) => found.push(path),
                (toml::Value::Table(all), Some(toml::Value::Table(documented))) => {
                    missing(all, documented, &path, found);
                }
                _ => {}
            }
        }
    }
    let mut found = Vec::new();
    let router = toml::Table::try_from(dspex_router::RouterConfig::default()).unwrap();
    let migration = toml::Table::try_from(dspex_migration::Settings::default()).unwrap();
    let validation = toml::Table::try_from(dspex_migration::ValidationSettings::default()).unwrap();
    for (name, all) in [
        ("router", router),
        ("migration", migration),
        ("validation", validation),
    ] {
        missing(&all, documented[name].as_table().unwrap(), name, &mut found);
    }
    assert!(found.is_empty(), "not in default.toml: {found:?}");
}

#[test]
fn later_layers_win_and_each_value_knows_its_origin() {
    let config = load(
        "[server]\nbind = \"127.0.0.1:1\"\nmax_connections = 5\n[router]\ncall_timeout = \"9s\"",
        &[
            ("DSPEX_SERVER__BIND", "127.0.0.1:2"),
            ("DSPEX_SERVER__MAX_CONNECTIONS", "6"),
            ("DSPEX_URL", "http://not.configuration"),
            ("OTHER__NAME", "x"),
        ],
        &["server.bind=127.0.0.1:3", "server.data_dir=\"2026\""],
    )
    .unwrap();
    assert_eq!(config.server.bind.port(), 3);
    assert_eq!(config.server.max_connections, 6);
    assert_eq!(config.server.data_dir, PathBuf::from("2026"));
    assert_eq!(config.router.call_timeout.as_secs(), 9);
    let origin = |key: &str| config.entry(key).unwrap().origin;
    assert_eq!(origin("server.bind"), "flag --set server.bind");
    assert_eq!(
        origin("server.max_connections"),
        "environment variable DSPEX_SERVER__MAX_CONNECTIONS"
    );
    assert!(origin("router.call_timeout").contains("mine.toml"));
    assert_eq!(origin("server.max_body"), "the defaults");
    assert_eq!(
        config.entry("server.max_connections").unwrap().value,
        json!(6)
    );
}

#[test]
fn an_unknown_setting_names_the_nearest_and_where_it_was_written() {
    let line = refused("[server]\nbnd = \"127.0.0.1:1\"");
    assert!(line.starts_with("`server.bnd`: no such setting"), "{line}");
    assert!(line.contains("mine.toml"), "{line}");
    assert!(line.ends_with("did you mean `server.bind`?"), "{line}");

    let line = load("", &[("DSPEX_SERVER__BIDN", "x")], &[])
        .unwrap_err()
        .to_string();
    assert!(
        line.contains("environment variable DSPEX_SERVER__BIDN"),
        "{line}"
    );
    assert!(line.contains("`server.bind`"), "{line}");

    let line = load("", &[], &["sever.bind=x"]).unwrap_err().to_string();
    assert!(
        line.contains("`sever`") && line.contains("`server`"),
        "{line}"
    );
    assert!(line.contains("flag --set sever.bind"), "{line}");

    for (file, near) in [
        ("[router]\ncall_timeuot = \"1s\"", "`router.call_timeout`"),
        ("[router.circuit]\nopen_fro = \"1s\"", "open_for"),
        ("[pools.v2]\nworker = 3", "`pools.v2.workers`"),
        ("[pools.v2]\npyhton = \"x\"", "`pools.v2.python`"),
        (
            "[lms.a]\nmodel = \"x/y\"\napi_key = \"sk\"",
            "`lms.a.api_key_env`",
        ),
        ("[migration.thresholds]\nerror_rat = 1", "error_rat"),
    ] {
        let line = refused(file);
        assert!(line.contains(near), "{file}: {line}");
    }
}

#[test]
fn a_wrong_type_says_what_was_expected_and_where() {
    for (file, key, expected) in [
        (
            "[server]\nmax_connections = \"many\"",
            "`server.max_connections`",
            "usize",
        ),
        (
            "[server]\nheader_timeout = 30",
            "`server.header_timeout`",
            "a duration with a unit",
        ),
        (
            "[server]\nheader_timeout = \"30\"",
            "`server.header_timeout`",
            "is not a duration",
        ),
        (
            "[server]\nmax_body = \"8 potatoes\"",
            "`server.max_body`",
            "is not a size",
        ),
        (
            "[server]\nbind = \"everywhere\"",
            "`server.bind`",
            "socket address",
        ),
        ("[log]\nformat = \"xml\"", "`log.format`", "xml"),
        (
            "[pools.v2]\nworkers = \"four\"",
            "`pools.v2.workers`",
            "usize",
        ),
        ("[pools.v2]\nworkers = 0", "`pools.v2.workers`", "1 to 512"),
        (
            "[server]\nmax_json_depth = 5000",
            "`server.max_json_depth`",
            "1 to 120",
        ),
        (
            "[router]\ncall_timeout = \"0s\"",
            "`router.call_timeout`",
            "longer than",
        ),
        ("[migration]\nstages = []", "`migration`", "no stages"),
    ] {
        let line = refused(file);
        assert!(line.contains(key), "{file}: {line}");
        assert!(line.contains(expected), "{file}: {line}");
        assert!(line.contains("mine.toml"), "{file}: {line}");
    }
}

#[test]
fn shares_are_percent_and_nothing_else() {
    for percent in ["\"101%\"", "-1", "nan", "\"NaN\"", "true"] {
        let line = refused(&format!(
            "[[migration.stages]]\npercent = {percent}\nhold = \"1s\""
        ));
        assert!(line.contains("migration.stages"), "{percent}: {line}");
    }
}

#[test]
fn lanes_name_pools_that_are_there() {
    let line = refused("[lanes]\ncandidate = \"v22\"");
    assert!(line.contains("did you mean \"v2\"?"), "{line}");
    let line = refused("[lanes]\nstable = \"v2\"\ncandidate = \"v2\"");
    assert!(line.contains("already stands in the stable lane"), "{line}");
    let none = load("[lanes]\ncandidate = \"\"", &[], &[]).unwrap();
    assert_eq!(none.lanes.candidate, None);
}

#[test]
fn a_pool_names_its_kind() {
    let line = refused("[pools.mine]\nworkers = 1");
    assert!(
        line.contains("`pools.mine.kind`") && line.contains("pool-v2"),
        "{line}"
    );
    let line = refused("[pools.mine]\nkind = \"pool-v22\"");
    assert!(line.contains("did you mean \"pool-v2\"?"), "{line}");
    let config = load(
        "[pools.mine]\nkind = \"pool-v2\"\nworkers = 1\npython = \"/opt/python\"\n[pools.mine.env]\nA = \"b\"",
        &[],
        &[],
    )
    .unwrap();
    let pool = config.pool("mine").unwrap();
    assert_eq!(pool.kind(), "pool-v2");
    assert_eq!(pool.python(&config), std::path::Path::new("/opt/python"));
    let launch = pool.launch(&config, std::path::Path::new("/package"));
    assert_eq!(launch.env["A"], "b");
    assert_eq!(launch.python_path[0], std::path::Path::new("/package"));
    // What may be a secret is not shown.
    assert_eq!(config.entry("pools.mine.env.A").unwrap().value, "(hidden)");
}

#[test]
fn files_that_cannot_be_used_are_one_clear_line() {
    let line = refused("[server\nbind = 1");
    assert!(
        line.contains("line 1") && line.contains("mine.toml"),
        "{line}"
    );
    let missing = Config::load(&Sources {
        file: Some("/no/such/file.toml".into()),
        ..Sources::default()
    });
    let line = missing.unwrap_err().to_string();
    assert!(
        line.contains("/no/such/file.toml") && line.contains("cannot be read"),
        "{line}"
    );
    let line = load("", &[("DSPEX_SERVER__", "x")], &[])
        .unwrap_err()
        .to_string();
    assert!(line.contains("DSPEX_SERVER__"), "{line}");
    let line = load("", &[], &["nonsense"]).unwrap_err().to_string();
    assert!(line.contains("section.key=value"), "{line}");
}

#[test]
fn limits_of_workers_are_laid_over_those_of_python_pool_by_pool() {
    let config = load(
        "",
        &[],
        &[
            "python.limits.address_space=4GiB",
            "python.limits.open_files=256",
            "pools.v2.limits.open_files=0",
            "pools.v2.limits.processes=64",
        ],
    )
    .unwrap();
    let limits = |pool: &str| {
        let launch = config.pool(pool).unwrap().launch(&config, "x".as_ref());
        let limits = launch.limits;
        (limits.address_space, limits.open_files, limits.processes)
    };
    assert_eq!(limits("v2"), (Some(4 << 30), None, Some(64)));
    let others = config.pools.keys().filter(|name| *name != "v2");
    for pool in others {
        assert_eq!(limits(pool), (Some(4 << 30), Some(256), None), "{pool}");
    }
    for (set, words) in [
        (
            "python.limits.address_space=1MiB",
            "python.limits.address_space",
        ),
        ("pools.v2.limits.open_files=3", "pools.v2.limits.open_files"),
        ("python.limits.processes=7", "python.limits.processes"),
        ("pools.v2.limits.processes=7", "pools.v2.limits.processes"),
        // A thread for each of its four calls, and eight.
        ("pools.v2.limits.processes=11", "up to 12 of its own"),
        ("python.limits.processes=11", "pools.v2.limits.processes"),
        ("pools.v2.limits.memory=3", "no such setting"),
    ] {
        let line = load("", &[], &[set]).unwrap_err().to_string();
        assert!(line.contains(words), "{set}: {line}");
    }
}

#[tokio::test]
async fn flags_have_the_layer_that_set_them() {
    let config = load(
        "[flags.values]\npool_optimizer = true\ntelemetry_v2 = false\nenhanced_workers = false",
        &[
            ("DSPEX_FLAG_TELEMETRY_V2", "true"),
            ("DSPEX_FLAG_CIRCUIT_BREAKER", "false"),
            ("DSPEX_FLAGS", "no flag"),
        ],
        &["flags.values.enhanced_workers=true"],
    )
    .unwrap();
    let store = Arc::new(dspex_flags::MemoryStore::new());
    let declarations = dspex_flags::dspex::declarations();
    let flags = dspex_flags::Flags::open_layered(store, declarations, config.flag_layers());
    let snapshot = flags.await.unwrap().snapshot();
    for (flag, value, layer) in [
        ("pool_optimizer", true, "configuration"),
        ("telemetry_v2", true, "environment"),
        ("circuit_breaker", false, "environment"),
        ("enhanced_workers", true, "configuration"),
        ("pool_v2_enabled", false, "compiled"),
    ] {
        let why = serde_json::to_value(snapshot.explain(flag, None).unwrap()).unwrap();
        assert_eq!(
            (&why["value"], &why["layer"]),
            (&json!(value), &json!(layer)),
            "{flag}"
        );
    }
    let shown = config.entry("flags.values.circuit_breaker").unwrap();
    assert_eq!(
        shown.origin,
        "environment variable DSPEX_FLAG_CIRCUIT_BREAKER"
    );
}

#[test]
fn a_flag_that_cannot_be_set_here_is_refused_with_its_place() {
    let line = refused("[flags.values]\npool_optimiser = true");
    assert!(
        line.starts_with("`flags.values.pool_optimiser`: no such flag"),
        "{line}"
    );
    assert!(line.contains("mine.toml"), "{line}");
    assert!(
        line.ends_with("did you mean `flags.values.pool_optimizer`?"),
        "{line}"
    );

    let line = load("", &[("DSPEX_FLAG_TELEMETRY_V2", "perhaps")], &[])
        .unwrap_err()
        .to_string();
    assert!(
        line.contains("`perhaps` is neither true nor false"),
        "{line}"
    );
    assert!(
        line.contains("environment variable DSPEX_FLAG_TELEMETRY_V2"),
        "{line}"
    );

    for lever in [
        "gradual_rollout_percentage",
        "pool_v2_enabled",
        "shadow_percentage",
    ] {
        let name = format!("DSPEX_FLAG_{}", lever.to_ascii_uppercase());
        let line = load("", &[(&name, "true")], &[]).unwrap_err().to_string();
        assert!(line.contains("traffic moves by a write"), "{line}");
    }
}

#[test]
fn the_flags_store_is_the_database_a_file_or_postgres_and_its_password_is_hidden() {
    let at = |text: &str| load("", &[], &[&format!("flags.store={text}")]);
    assert_eq!(load("", &[], &[]).unwrap().flags.store, StoreAt::Database);
    assert_eq!(
        at("file:flags.json").unwrap().flags.store,
        StoreAt::File("flags.json".into())
    );
    let config = at("postgres://ada:s3cret@db/dspex").unwrap();
    assert!(matches!(config.flags.store, StoreAt::Postgres(_)));
    let shown = format!("{:?}{:?}", config.entries(), config.flags);
    assert!(!shown.contains("s3cret"), "{shown}");
    for wrong in [
        "file:",
        "postgres:ada:s3cret@db",
        "redis://db",
        "sqlite",
        "''",
    ] {
        let line = at(wrong).unwrap_err().to_string();
        assert!(line.starts_with("`flags.store`"), "{line}");
        assert!(
            line.contains("file:PATH") && !line.contains("s3cret"),
            "{line}"
        );
    }
    for zero in ["per_second", "burst", "callers", "streams"] {
        let line = load("", &[], &[&format!("flags.ofrep.{zero}=0")])
            .unwrap_err()
            .to_string();
        assert!(line.contains("must be at least 1"), "{line}");
    }
}

#[test]
fn addresses_in_lists_are_shown_without_what_may_be_a_secret() {
    let file = r#"
        [webhooks]
        secret_env = "HOOKS"
        [[notifications]]
        name = "chat"
        url = "https://chat.example/hooks/s3cret?token=s3cret"
        [[migration.stages]]
        percent = 100
        hold = "1s"
        gate = { webhook = { url = "https://gate.example:8443/s3cret" } }
    "#;
    let config = load(file, &[], &[]).unwrap();
    let shown = serde_json::to_string(&config.entries()).unwrap();
    assert!(!shown.contains("s3cret"), "{shown}");
    for place in [
        "https://chat.example/(hidden)",
        "https://gate.example:8443/(hidden)",
    ] {
        assert!(shown.contains(place), "{shown}");
    }
    // What is shown is not what is used.
    assert!(config.notifications[0].url.ends_with("s3cret"));
}
