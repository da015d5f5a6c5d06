//! Commands that need no server: help, completions, the configuration, doctor, and slips.

use std::net::TcpListener;

use super::run::dspex;

#[test]
fn help_goes_to_standard_output_and_documents_the_exit_codes() {
    let ran = dspex(&["help"]).ends_with(0);
    for code in 0..=5 {
        assert!(ran.out.contains(&format!("\n  {code}  ")), "{}", ran.out);
    }
    assert_eq!(ran.err, "");
}

#[test]
fn a_slip_is_a_usage_error_that_names_the_nearest() {
    dspex(&["programz"]).ends_with(2).says("programs");
    dspex(&["flags", "set", "k", "v"])
        .ends_with(2)
        .says("--why");
    dspex(&["programs", "create", "--signature", "question"])
        .ends_with(2)
        .says("->");
    dspex(&["migrate", "start", "--why", "x", "--time-scale", "0"])
        .ends_with(2)
        .says("--time-scale");
    assert_eq!(dspex(&[]).code, Some(2));
}

#[test]
fn completions_are_printed_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = dspex(&["completions", shell]).ends_with(0);
        assert!(ran.out.contains("migrate"), "{shell}: {}", ran.out);
        assert_eq!(ran.err, "");
    }
    dspex(&["completions", "tcsh"]).ends_with(2);
}

#[test]
fn the_default_configuration_is_valid_and_shown_with_its_origins() {
    dspex(&["config", "check"]).ends_with(0);
    let ran = dspex(&[
        "config",
        "show",
        "server.bind",
        "--json",
        "--bind",
        "127.0.0.1:1",
    ]);
    let setting = ran.ends_with(0).json()["settings"]["server.bind"].clone();
    assert_eq!(setting["value"], "127.0.0.1:1");
    let origin = setting["origin"].as_str().unwrap();
    assert!(origin.contains("server.bind"), "{origin}");
}

#[test]
fn a_setting_that_does_not_exist_is_refused_with_the_nearest_name() {
    dspex(&["config", "check", "--set", "server.bnd=127.0.0.1:1"])
        .ends_with(2)
        .says("error: `server.bnd`")
        .says("hint: did you mean `server.bind`?");
    dspex(&["config", "check", "--config", "no-such-file.toml"])
        .ends_with(2)
        .says("no-such-file.toml");
    dspex(&["serve", "--set", "server.max_connections=0"])
        .ends_with(2)
        .says("max_connections");
    dspex(&["config", "show", "server.bnd"])
        .ends_with(2)
        .says("server.bind");
}

#[test]
fn doctor_measures_and_a_port_in_use_is_unfit() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ran = dspex(&["doctor", "--json", "--bind", &address]).ends_with(3);
    let found = ran.json();
    assert_eq!(found["fit"], false);
    let checks = found["checks"].as_array().unwrap();
    let port = checks.iter().find(|check| check["name"] == "port").unwrap();
    assert_eq!(port["verdict"], "unfit");
    assert!(port["value"].as_str().unwrap().contains(&address));
    for check in checks {
        assert!(
            check["value"].is_string() && check["limit"].is_string(),
            "{check}"
        );
    }
    // Not fit, and still nothing but the report: the report says why.
    assert_eq!(ran.err, "");
}

#[test]
fn doctor_finds_a_missing_python() {
    let ran = dspex(&[
        "doctor",
        "--bind",
        "127.0.0.1:0",
        "--set",
        "python.executable=/no/python3",
    ]);
    let ran = ran.ends_with(3);
    assert!(ran.out.contains("/no/python3"), "{}", ran.out);
    assert!(ran.out.contains("hint: python"), "{}", ran.out);
}
