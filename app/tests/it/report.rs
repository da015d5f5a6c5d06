//! Reports of the shipped binary: of a server, and of the store alone.

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::house::{House, LONG};

fn text(house: &House, arguments: &[&str]) -> String {
    let output = house.run(arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn a_report_is_the_same_of_the_server_and_of_the_store() {
    let mut house = House::start("").await;
    house.create("echo").await;
    let why =
        json!({"why": "<script>alert(1)</script>", "who": "eve | [x](y)", "time_scale": 0.001});
    house.post("/admin/v1/migrations", why).await.ok(201);
    let back = json!({"why": "enough", "who": "ada"});
    house
        .post("/admin/v1/migrations/current/rollback", back)
        .await
        .ok(200);
    let began = Instant::now();
    while house.migration().await["phase"] != "rolled_back" {
        assert!(began.elapsed() < LONG, "{:#}", house.migration().await);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let served = text(&house, &["migrate", "report"]);
    assert!(
        served.starts_with("# Migration of v1@1 to v2@1"),
        "{served}"
    );
    assert!(served.contains("enough"), "{served}");
    let page = house.path("report.html");
    let written = page.display().to_string();
    text(
        &house,
        &[
            "migrate", "report", "--format", "html", "--output", &written,
        ],
    );
    let page = std::fs::read_to_string(page).unwrap();
    assert!(
        page.contains("&lt;script&gt;") && !page.contains("<script"),
        "{page}"
    );
    let machine: Value =
        serde_json::from_str(&text(&house, &["migrate", "report", "--json"])).unwrap();
    assert_eq!(machine["phase"], "rolled_back");
    house.kill();
    assert_eq!(text(&house, &["migrate", "report", "--offline"]), served);
    // No server answers, and the store of this machine does.
    let nowhere = ["migrate", "report", "--url", "http://127.0.0.1:9"];
    assert_eq!(text(&house, &nowhere), served);
    let unknown = house.run(&["migrate", "report", "m-nope", "--offline"]);
    assert_eq!(unknown.status.code(), Some(5), "{unknown:?}");
}
