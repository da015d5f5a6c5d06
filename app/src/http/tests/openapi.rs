//! The document that is checked in is the one that is served.

use super::bench::Bench;

/// Set this variable to write the document anew.
const WRITE: &str = "DSPEX_WRITE_OPENAPI";

#[tokio::test]
async fn the_document_checked_in_is_the_one_served() {
    let bench = Bench::starting();
    let served = bench.get("/openapi.json").await.json();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
    let text = format!("{served:#}\n");
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let checked_in = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        checked_in == text,
        "app/openapi.json is not what the server serves; run this test with {WRITE}=1"
    );
}

#[tokio::test]
async fn every_admin_route_is_documented_as_guarded() {
    let bench = Bench::starting();
    let document = bench.get("/openapi.json").await.json();
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap();
    let mut admin = 0;
    for (path, methods) in paths {
        for (method, operation) in methods.as_object().unwrap() {
            let guarded = operation["security"][0]["token"].is_array();
            assert_eq!(guarded, path.starts_with("/admin/"), "{method} {path}");
            admin += usize::from(guarded);
        }
    }
    assert!(admin >= 12, "{admin} admin operations");
    for path in [
        "/v1/programs/{id}/execute",
        "/healthz",
        "/readyz",
        "/metrics",
        "/v1/status",
    ] {
        assert!(paths.contains_key(path), "{path}");
    }
}
