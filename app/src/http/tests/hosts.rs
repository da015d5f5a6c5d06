//! A website that has its name resolved to this machine gets no answer.

use super::bench::{ADMIN, Bench, request};

async fn asked(bench: &Bench, path: &str, host: &str, token: Option<&str>) -> super::bench::Answer {
    let mut request = request("GET", path, None);
    request.headers_mut().insert("host", host.parse().unwrap());
    if let Some(token) = token {
        let token = format!("Bearer {token}").parse().unwrap();
        request.headers_mut().insert("authorization", token);
    }
    bench.send(request).await
}

#[tokio::test]
async fn without_a_token_only_names_of_ours_are_answered() {
    let bench = Bench::ready().await;
    for path in ["/v1/programs", "/v1/status", "/metrics"] {
        for host in ["localhost:8080", "127.0.0.1", "dspex.example"] {
            assert_eq!(
                asked(&bench, path, host, None).await.status,
                200,
                "{path} {host}"
            );
        }
        let problem = asked(&bench, path, "evil.example:8080", None)
            .await
            .problem(421);
        assert!(
            problem["detail"].as_str().unwrap().contains("evil.example"),
            "{problem}"
        );
        assert!(
            problem["hint"]
                .as_str()
                .unwrap()
                .contains("server.allowed_hosts")
        );
        // Whoever has a token is no page of a website.
        assert_eq!(
            asked(&bench, path, "evil.example", Some(ADMIN))
                .await
                .status,
            200
        );
        asked(&bench, path, "evil.example", Some("guessed")).await;
        assert_eq!(
            asked(&bench, path, "evil.example", Some("guessed"))
                .await
                .status,
            421
        );
    }
    assert_eq!(
        asked(&bench, "/healthz", "evil.example", None).await.status,
        200
    );
}

#[tokio::test]
async fn with_a_programs_token_the_name_says_nothing() {
    let bench = Bench::guarded("the-programs-token-in-tests-0123").await;
    let answer = asked(
        &bench,
        "/v1/programs",
        "any.example",
        Some("the-programs-token-in-tests-0123"),
    )
    .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(
        asked(&bench, "/v1/programs", "any.example", None)
            .await
            .status,
        401
    );
}
