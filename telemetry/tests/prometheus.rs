//! What a scraper reads.

use std::time::Duration;

use dspex_telemetry::{
    Blame, BudgetFigures, CircuitFigures, CircuitPhase, Config, Gauges, HostUsage, Lane,
    MigrationFigures, NotificationFigures, Outcome, PoolFigures, Prometheus, PrometheusError,
    RescueFigures, Telemetry, WorkerFigures,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

fn outcome(lane: Lane, blame: Option<Blame>, kind: &'static str) -> Outcome {
    Outcome {
        lane,
        program: "qa".into(),
        blame,
        kind,
        total: Duration::from_millis(40),
        program_time: Some(Duration::from_millis(38)),
    }
}

#[track_caller]
fn assert_line(text: &str, line: &str) {
    assert!(
        text.lines().any(|each| each == line),
        "no line {line:?} in:\n{text}"
    );
}

#[test]
fn calls_are_counted_by_lane_and_outcome() {
    let prometheus = Prometheus::new().unwrap();
    let telemetry = Telemetry::with_prometheus(Config::default(), &prometheus);
    let now = Instant::now();
    for _ in 0..3 {
        telemetry.record(&outcome(Lane::Stable, None, "ok"), now);
    }
    for _ in 0..2 {
        telemetry.record(
            &outcome(Lane::Candidate, Some(Blame::Pool), "worker-crashed"),
            now,
        );
    }

    let text = prometheus.render();
    assert_line(&text, r#"dspex_calls_total{lane="stable",outcome="ok"} 3"#);
    assert_line(
        &text,
        r#"dspex_calls_total{lane="stable",outcome="error"} 0"#,
    );
    assert_line(
        &text,
        r#"dspex_calls_total{lane="candidate",outcome="error"} 2"#,
    );
    let errors = r#"dspex_errors_total{lane="candidate",blame="pool",kind="worker-crashed"} 2"#;
    assert_line(&text, errors);
    // 40 ms in all, 2 ms of them overhead.
    assert_line(
        &text,
        r#"dspex_call_seconds_bucket{lane="stable",le="0.025"} 0"#,
    );
    assert_line(
        &text,
        r#"dspex_call_seconds_bucket{lane="stable",le="0.05"} 3"#,
    );
    assert_line(
        &text,
        r#"dspex_call_overhead_seconds_bucket{lane="stable",le="0.001"} 0"#,
    );
    assert_line(
        &text,
        r#"dspex_call_overhead_seconds_bucket{lane="stable",le="0.0025"} 3"#,
    );
    assert_line(&text, r#"dspex_call_seconds_count{lane="candidate"} 2"#);
    assert!(
        !text.contains("qa"),
        "programs are named by callers: no label\n{text}"
    );
}

#[test]
fn metrics_go_on_while_windows_are_off() {
    let prometheus = Prometheus::new().unwrap();
    let telemetry = Telemetry::with_prometheus(Config::default(), &prometheus);
    telemetry.set_enabled(false);
    let now = Instant::now();
    telemetry.record(&outcome(Lane::Stable, None, "ok"), now);
    assert_line(
        &prometheus.render(),
        r#"dspex_calls_total{lane="stable",outcome="ok"} 1"#,
    );
    assert_eq!(telemetry.window(Lane::Stable, now, now).calls, 0);
}

#[test]
fn recorders_know_nothing_of_one_another() {
    let (one, other) = (Prometheus::new().unwrap(), Prometheus::new().unwrap());
    Gauges::on(&one).flag_revision(7);
    assert_line(&one.render(), "dspex_flag_revision 7");
    assert!(!other.render().contains("dspex_flag_revision 7"));
}

#[test]
fn pools_tell_their_figures_and_counters_outlive_a_pool() {
    let prometheus = Prometheus::new().unwrap();
    let gauges = Gauges::on(&prometheus);
    let figures = PoolFigures {
        ready: 3,
        size: 4,
        in_flight: 2,
        queued: 5,
        starts: 6,
        failures: 1,
    };
    gauges.pool("v2", &figures);
    gauges.pool("v2", &figures);
    let text = prometheus.render();
    for line in [
        r#"dspex_pool_ready{pool="v2"} 3"#,
        r#"dspex_pool_size{pool="v2"} 4"#,
        r#"dspex_pool_in_flight{pool="v2"} 2"#,
        r#"dspex_pool_queued{pool="v2"} 5"#,
        r#"dspex_pool_starts_total{pool="v2"} 6"#,
        r#"dspex_pool_failures_total{pool="v2"} 1"#,
    ] {
        assert_line(&text, line);
    }

    // A pool of the same name, made anew, counts from 0 again.
    gauges.pool(
        "v2",
        &PoolFigures {
            ready: 4,
            size: 4,
            starts: 4,
            ..PoolFigures::default()
        },
    );
    let text = prometheus.render();
    assert_line(&text, r#"dspex_pool_ready{pool="v2"} 4"#);
    assert_line(&text, r#"dspex_pool_starts_total{pool="v2"} 10"#);
    assert_line(&text, r#"dspex_pool_failures_total{pool="v2"} 1"#);

    gauges.pool_gone("v2");
    gauges.pool_gone("never seen");
    let text = prometheus.render();
    assert_line(&text, r#"dspex_pool_ready{pool="v2"} 0"#);
    assert_line(&text, r#"dspex_pool_starts_total{pool="v2"} 10"#);
    assert!(!text.contains("never seen"), "{text}");
}

#[test]
fn a_circuit_is_in_one_state() {
    let prometheus = Prometheus::new().unwrap();
    let gauges = Gauges::on(&prometheus);
    let figures = |phase, mode| CircuitFigures {
        phase,
        mode,
        modes: &["automatic", "forced_open"],
    };
    gauges.circuit("candidate", &figures(CircuitPhase::Closed, "automatic"));
    gauges.circuit("candidate", &figures(CircuitPhase::Open, "forced_open"));
    gauges.circuit_transitions("candidate", "closed", "open", 3);
    let text = prometheus.render();
    assert_line(
        &text,
        r#"dspex_circuit_state{circuit="candidate",state="closed"} 0"#,
    );
    assert_line(
        &text,
        r#"dspex_circuit_state{circuit="candidate",state="half_open"} 0"#,
    );
    assert_line(
        &text,
        r#"dspex_circuit_state{circuit="candidate",state="open"} 1"#,
    );
    for line in [
        r#"dspex_circuit_mode{circuit="candidate",mode="automatic"} 0"#,
        r#"dspex_circuit_mode{circuit="candidate",mode="forced_open"} 1"#,
        r#"dspex_circuit_transitions_total{circuit="candidate",from="closed",to="open"} 3"#,
    ] {
        assert_line(&text, line);
    }
}

#[test]
fn what_is_not_known_of_the_host_is_not_a_number() {
    let prometheus = Prometheus::new().unwrap();
    let gauges = Gauges::on(&prometheus);
    gauges.host(&HostUsage {
        memory_percent: Some(62.5),
        ..HostUsage::default()
    });
    gauges.rollout_percent(12.5);
    let text = prometheus.render();
    assert_line(&text, "dspex_host_cpu_percent NaN");
    assert_line(&text, "dspex_host_memory_percent 62.5");
    assert_line(&text, "dspex_rollout_percent 12.5");
}

/// The only test here that touches the process's own recorder.
#[test]
fn a_process_has_one_recorder() {
    let prometheus = dspex_telemetry::install_prometheus().unwrap();
    let telemetry = Telemetry::new(Config::default());
    telemetry.record(&outcome(Lane::Stable, None, "ok"), Instant::now());
    Gauges::new().flag_revision(3);
    let text = prometheus.render();
    assert_line(&text, r#"dspex_calls_total{lane="stable",outcome="ok"} 1"#);
    assert_line(&text, "dspex_flag_revision 3");

    let second = Prometheus::new().unwrap().install();
    assert!(
        matches!(second, Err(PrometheusError::AlreadyInstalled)),
        "{second:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_upkeep_loses_nothing_and_ends_when_asked() {
    let prometheus = Prometheus::new().unwrap();
    let telemetry = Telemetry::with_prometheus(Config::default(), &prometheus);
    let stop = CancellationToken::new();
    let record_then_stop = async {
        for _ in 0..5 {
            telemetry.record(&outcome(Lane::Stable, None, "ok"), Instant::now());
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        stop.cancel();
    };
    let upkeep = prometheus
        .clone()
        .upkeep(Duration::from_secs(5), stop.clone());
    let both = async { tokio::join!(upkeep, record_then_stop) };
    tokio::time::timeout(Duration::from_secs(60), both)
        .await
        .expect("the upkeep did not end");
    assert_line(
        &prometheus.render(),
        r#"dspex_call_seconds_count{lane="stable"} 5"#,
    );
}

#[test]
fn workers_are_counted_by_state_and_a_pool_that_is_gone_has_none() {
    let prometheus = Prometheus::new().unwrap();
    let gauges = Gauges::on(&prometheus);
    let figures = |ready, hits| WorkerFigures {
        states: vec![("ready", ready), ("busy", 0)],
        memory: Some(1_000),
        affinity: Some((hits, 1)),
        switches: vec![("pool_optimizer".to_owned(), true)],
    };
    gauges.workers("v2", figures(3, 10));
    gauges.workers("v2", figures(2, 15));
    let text = prometheus.render();
    for line in [
        r#"dspex_workers{pool="v2",state="ready"} 2"#,
        r#"dspex_workers{pool="v2",state="busy"} 0"#,
        r#"dspex_worker_memory_bytes{pool="v2"} 1000"#,
        r#"dspex_affinity_hits_total{pool="v2"} 15"#,
        r#"dspex_affinity_misses_total{pool="v2"} 1"#,
        r#"dspex_pool_switch{pool="v2",switch="pool_optimizer"} 1"#,
    ] {
        assert_line(&text, line);
    }
    gauges.pool_gone("v2");
    // Made anew: its counts begin again, and the counters go on.
    gauges.workers("v1", WorkerFigures::default());
    let text = prometheus.render();
    assert_line(&text, r#"dspex_workers{pool="v2",state="ready"} 0"#);
    assert_line(&text, r#"dspex_worker_memory_bytes{pool="v2"} 0"#);
    assert!(!text.contains(r#"memory_bytes{pool="v1"}"#), "{text}");
    gauges.workers("v2", figures(1, 4));
    let text = prometheus.render();
    assert_line(&text, r#"dspex_affinity_hits_total{pool="v2"} 19"#);
}

#[test]
fn receivers_of_notifications_are_told_apart() {
    let prometheus = Prometheus::new().unwrap();
    let gauges = Gauges::on(&prometheus);
    let figures = NotificationFigures {
        delivered: 7,
        given_up: 1,
        behind: 3,
        failing: true,
    };
    gauges.notifications("chat", figures);
    gauges.notifications("pager", NotificationFigures::default());
    let text = prometheus.render();
    let of = |name: &str, receiver: &str, value: u64| {
        assert_line(&text, &format!("{name}{{receiver=\"{receiver}\"}} {value}"));
    };
    of("dspex_notifications_delivered_total", "chat", 7);
    of("dspex_notifications_given_up_total", "chat", 1);
    of("dspex_notifications_behind", "chat", 3);
    of("dspex_notifications_failing", "chat", 1);
    of("dspex_notifications_failing", "pager", 0);
}

#[test]
fn sessions_are_counted() {
    let prometheus = Prometheus::new().unwrap();
    let gauges = Gauges::on(&prometheus);
    gauges.sessions(7, 1_234, 2);
    let text = prometheus.render();
    assert_line(&text, "dspex_sessions 7");
    assert_line(&text, "dspex_session_bytes 1234");
    assert_line(&text, "dspex_sessions_evicted_total 2");
}

#[test]
fn a_migration_tells_where_it_is_and_keeps_the_share_that_is_served() {
    let prometheus = Prometheus::new().unwrap();
    let gauges = Gauges::on(&prometheus);
    assert!(!prometheus.render().contains("\ndspex_migration_"));
    let names = |is: &str| ["rollout", "stuck"].map(|name| (name.to_owned(), name == is));
    let mut figures = MigrationFigures {
        phases: names("rollout").to_vec(),
        verdicts: vec![("healthy".to_owned(), true)],
        stage: 2,
        stages: 6,
        share_percent: Some(12.5),
        paused: false,
        seen_healthy: 1.5,
        hold: 3600.0,
    };
    gauges.migration(&figures);
    figures.phases = names("stuck").to_vec();
    figures.share_percent = None;
    figures.paused = true;
    gauges.migration(&figures);
    let text = prometheus.render();
    for line in [
        r#"dspex_migration_phase{phase="rollout"} 0"#,
        r#"dspex_migration_phase{phase="stuck"} 1"#,
        r#"dspex_migration_verdict{verdict="healthy"} 1"#,
        "dspex_migration_stage 2",
        "dspex_migration_stages 6",
        "dspex_migration_share_percent 12.5",
        "dspex_migration_paused 1",
        "dspex_migration_seen_healthy_seconds 1.5",
        "dspex_migration_hold_seconds 3600",
    ] {
        assert_line(&text, line);
    }
}

#[test]
fn calls_that_were_sent_once_more_are_counted_by_rule_and_outcome() {
    let prometheus = Prometheus::new().unwrap();
    let gauges = Gauges::on(&prometheus);
    let figures = |recovered, under_way| RescueFigures {
        under_way,
        ended: vec![("recovered", recovered), ("abandoned", 1)],
    };
    gauges.rescue("failover", &figures(3, 2));
    gauges.rescue("failover", &figures(5, 0));
    gauges.rescue("again", &figures(0, 1));
    gauges.retry_budget(&BudgetFigures {
        left: 480,
        draws: vec![("failover", 5, 1), ("retry", 0, 0)],
    });
    let text = prometheus.render();
    for line in [
        r#"dspex_rescues_total{rule="failover",outcome="recovered"} 5"#,
        r#"dspex_rescues_total{rule="failover",outcome="abandoned"} 1"#,
        r#"dspex_rescues_total{rule="again",outcome="recovered"} 0"#,
        r#"dspex_rescues_under_way{rule="failover"} 0"#,
        r#"dspex_rescues_under_way{rule="again"} 1"#,
        "dspex_retry_budget_left 480",
        r#"dspex_retry_budget_draws_total{draw="failover",answer="granted"} 5"#,
        r#"dspex_retry_budget_draws_total{draw="failover",answer="refused"} 1"#,
        r#"dspex_retry_budget_draws_total{draw="retry",answer="refused"} 0"#,
    ] {
        assert_line(&text, line);
    }
}
