//! Commands that talk to a server: what they ask, what they print, and how refusals end.

use std::net::{TcpListener, TcpStream};

use serde_json::json;

use super::fake_server::{Answer, FakeServer};
use super::run::{dspex, dspex_with};

#[test]
fn no_server_is_exit_code_4_and_names_the_url_and_the_way_to_start_one() {
    // The port of a connection's other end: it is taken for as long as that is open, and nobody listens on it.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let address = taken.local_addr().unwrap();
    let url = format!("http://{address}");
    for command in [
        &["status"][..],
        &["health"],
        &["flags", "list"],
        &["programs", "list"],
        &["migrate", "status"],
        &["migrate", "rollback"],
    ] {
        let ran = dspex(&[command, &["--url", &url]].concat()).ends_with(4);
        assert!(ran.err.starts_with("error: "), "{ran:?}");
        assert_eq!(ran.out, "");
        ran.says(&address.to_string())
            .says("hint: start it with `dspex serve`");
    }
}

#[test]
fn an_address_that_cannot_work_is_refused_before_it_is_used() {
    dspex(&["status", "--url", "https://127.0.0.1:1"])
        .ends_with(2)
        .says("plain http only");
    dspex_with(&["status"], &[("DSPEX_URL", "nonsense")], "").ends_with(2);
}

#[test]
fn a_program_is_created_from_options_as_the_api_takes_it() {
    let server = FakeServer::always(Answer::json(
        201,
        &json!({"id": "qa", "version": 4, "definition": {"kind": "dspy"}, "repeatable": true}),
    ));
    let ran = dspex_with(
        &[
            "programs",
            "create",
            "qa",
            "--signature",
            "question -> answer",
            "--lm",
            "small",
        ],
        &[("DSPEX_URL", &server.url()), ("DSPEX_TOKEN", "secret")],
        "",
    )
    .ends_with(0);
    assert!(ran.out.contains("qa"), "{ran:?}");
    let asked = server.asked_once();
    assert_eq!(asked.line, "POST /v1/programs");
    assert_eq!(asked.header("authorization"), Some("Bearer secret"));
    assert_eq!(asked.body["id"], "qa");
    assert_eq!(asked.body["definition"]["lm"], "small");
    assert_eq!(asked.body["definition"]["module"], "predict");
}

#[test]
fn a_definition_can_come_from_standard_input() {
    let server = FakeServer::always(Answer::json(201, &json!({"id": "hi", "version": 1})));
    dspex_with(
        &["programs", "create", "hi", "--file", "-"],
        &[("DSPEX_URL", &server.url())],
        r#"{"kind": "callable", "target": "m:a"}"#,
    )
    .ends_with(0);
    let body = server.asked_once().body;
    assert_eq!(
        body,
        json!({"id": "hi", "definition": {"kind": "callable", "target": "m:a"}})
    );
}

#[test]
fn a_call_prints_its_outputs_and_remarks_stay_out_of_them() {
    let answer = json!({"outputs": {"answer": "42", "score": 0.5}, "total_ms": 3.25});
    let server = FakeServer::always(
        Answer::json(200, &answer)
            .header("x-dspex-lane", "candidate")
            .header("x-request-id", "r-9"),
    );
    let line = [
        "programs",
        "execute",
        "qa",
        "question=why?",
        "n:=3",
        "--session",
        "ada",
    ];
    let url = server.url();
    let ran = dspex(&[&line[..], &["--call-timeout", "1500ms", "--url", &url]].concat());
    let ran = ran.ends_with(0).says("lane candidate").says("request r-9");
    assert_eq!(ran.out, "answer: 42\nscore: 0.5\n");
    let asked = server.asked_once();
    assert_eq!(asked.line, "POST /v1/programs/qa/execute");
    assert_eq!(asked.header("x-session-id"), Some("ada"));
    assert_eq!(
        asked.body,
        json!({"inputs": {"question": "why?", "n": 3}, "timeout_ms": 1500})
    );
    let ran = dspex(&[&line[..], &["--json", "--url", &url]].concat()).ends_with(0);
    assert_eq!((ran.json(), ran.err.as_str()), (answer, ""));
}

#[test]
fn a_streamed_call_prints_its_chunks_and_then_its_outputs() {
    let chunks =
        "id: 1\nevent: chunk\ndata: \"Once\"\n\n: \n\nid: 2\nevent: chunk\ndata: {\"n\":1}\n\n";
    let result = json!({"outputs": {"story": "Once."}, "lane": "stable", "request_id": "r-9", "total_ms": 3.25});
    let whole = format!("{chunks}event: result\ndata: {result}\n\n");
    let events = |text: &str| {
        FakeServer::always(Answer::text(200, text).header("content-type", "text/event-stream"))
    };
    let server = events(&whole);
    let line = [
        "programs",
        "execute",
        "story",
        "topic=tides",
        "--stream",
        "--url",
    ];
    let ran = dspex(&[&line[..], &[&server.url()]].concat()).ends_with(0);
    assert_eq!(ran.out, "Once\n{\"n\":1}\nstory: Once.\n");
    let ran = ran.says("lane stable").says("request r-9");
    assert!(!ran.err.contains("error"), "{ran:?}");
    let asked = server.asked_once();
    assert_eq!(asked.header("accept"), Some("text/event-stream"));

    let ran = dspex(&[&line[..], &[&server.url(), "--json"]].concat()).ends_with(0);
    let lines: Vec<serde_json::Value> = ran
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let wanted = [
        json!({"chunk": "Once"}),
        json!({"chunk": {"n": 1}}),
        json!({"result": result}),
    ];
    assert_eq!((lines.as_slice(), ran.err.as_str()), (&wanted[..], ""));

    let problem = json!({"status": 502, "detail": "worker v2-0.0 ended", "request_id": "r-9"});
    let server = events(&format!("{chunks}event: error\ndata: {problem}\n\n"));
    let ran = dspex(&[&line[..], &[&server.url()]].concat()).ends_with(1);
    assert_eq!(ran.out, "Once\n{\"n\":1}\n");
    ran.says("worker v2-0.0 ended").says("request r-9");
    // Cut off in the middle: the end must not look like one.
    let server = events(chunks);
    dspex(&[&line[..], &[&server.url()]].concat())
        .ends_with(4)
        .says("without a result");
    // Refused before it began.
    let refused = json!({"status": 422, "type": "urn:dspex:problem:session-required", "detail": "no session"});
    let server = FakeServer::always(Answer::json(422, &refused));
    dspex(&[&line[..], &[&server.url()]].concat())
        .ends_with(5)
        .says("--session");
}

#[test]
fn a_refusal_is_an_error_a_hint_and_exit_code_5_and_a_failure_is_1() {
    let problem = json!({"type": "urn:dspex:problem:unknown-program", "title": "Unknown program",
        "status": 404, "detail": "there is no program \"qb\""});
    let server = FakeServer::always(Answer::json(404, &problem));
    let ran = dspex(&["programs", "get", "qb", "--url", &server.url()]).ends_with(5);
    assert_eq!(
        ran.err,
        "error: there is no program \"qb\"\nhint: see the programs with `dspex programs list`\n"
    );
    let server = FakeServer::always(Answer::json(
        502,
        &json!({"title": "Program failed", "detail": "ValueError: no", "request_id": "r-1"}),
    ));
    dspex(&["programs", "execute", "qa", "--url", &server.url()])
        .ends_with(1)
        .says("error: ValueError: no")
        .says("r-1");
}

#[test]
fn a_missing_token_is_explained() {
    let server = FakeServer::always(Answer::json(
        401,
        &json!({"type": "urn:dspex:problem:unauthorized", "title": "Unauthorized"}),
    ));
    dspex(&["flags", "list", "--url", &server.url()])
        .ends_with(5)
        .says("DSPEX_TOKEN");
}

#[test]
fn something_else_that_listens_there_is_not_taken_for_a_server() {
    let server = FakeServer::always(Answer::text(200, "<html>hello</html>"));
    dspex(&["status", "--url", &server.url()])
        .ends_with(4)
        .says("not JSON")
        .says("--url");
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    dspex(&["status", "--url", &url, "--timeout", "200ms"])
        .ends_with(4)
        .says("did not answer within 200ms");
}

#[test]
fn a_flag_is_written_with_who_and_why_and_the_expected_revision() {
    let server = FakeServer::always(Answer::json(200, &json!({"revision": 8})));
    let url = server.url();
    let set = ["flags", "set", "gradual_rollout_percentage", "12.5%"];
    let ran = dspex(
        &[
            &set[..],
            &["--why", "by hand", "--expect", "7", "--url", &url],
        ]
        .concat(),
    );
    let ran = ran.ends_with(0);
    assert!(ran.out.contains("revision 8"), "{ran:?}");
    let asked = server.asked_once();
    assert_eq!(asked.line, "PATCH /admin/v1/flags");
    assert_eq!(
        asked.body,
        json!({"set": {"gradual_rollout_percentage": "12.5%"}, "who": "ada", "why": "by hand",
            "expected_revision": 7})
    );
}

#[test]
fn a_reader_who_leaves_early_is_no_failure() {
    let flags: Vec<_> = (0..20_000)
        .map(|n| json!({"key": format!("flag_{n}"), "kind": "bool", "value": true, "default": false}))
        .collect();
    let server = FakeServer::always(Answer::json(200, &json!({"revision": 1, "flags": flags})));
    let ran = dspex_piped_to_head(&["flags", "list", "--url", &server.url()]);
    assert_eq!((ran.0, ran.1.as_str()), (Some(0), ""));
}

/// Exit code and standard error of a run whose standard output is closed after the first bytes.
#[expect(
    clippy::disallowed_methods,
    reason = "the test starts the shipped binary, and waits for its end right here"
)]
fn dspex_piped_to_head(arguments: &[&str]) -> (Option<i32>, String) {
    use std::io::Read as _;
    use std::process::{Command, Stdio};
    let mut child = Command::new(env!("CARGO_BIN_EXE_dspex"))
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 16];
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut first).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), err)
}
