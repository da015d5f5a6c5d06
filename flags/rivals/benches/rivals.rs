//! One decision with a key, at half of the keys: dspex-flags, Unleash's SDK and OpenFeature's.
//!
//! From this folder: `cargo bench`. OpenFeature's Rust SDK 0.3 has no provider in memory; its NoOp
//! provider, which decides nothing, is what its client costs at the least.

use std::hint::black_box;
use std::sync::Arc;

use async_trait::async_trait;
use criterion::{Criterion, criterion_group, criterion_main};
use dspex_flags::{Flag, Flags, MemoryStore, Percent, Write};
use open_feature::{EvaluationContext, OpenFeature};
use unleash_api_client::client::FeatureKey;
use unleash_api_client::http::{Request, Response, Transport};
use unleash_api_client::{ClientBuilder, Context};
use unleash_types::client_features::ClientFeatures;

const SHARE: Flag<Percent> = Flag {
    key: "share",
    default: Percent::ZERO,
    description: "the share that is asked for",
    owner: "bench",
};
const KEY: &str = "session-0123456789";

/// The features that Unleash's client knows by name.
#[derive(Debug, Clone, Copy)]
struct Share;

impl FeatureKey for Share {
    fn name(self) -> &'static str {
        "share"
    }
}

/// Nothing is fetched: the features are handed over.
struct Nowhere;

#[async_trait]
impl Transport for Nowhere {
    async fn execute(&self, _: Request) -> Result<Response, anyhow::Error> {
        anyhow::bail!("there is no server")
    }
}

fn rivals(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let mut group = criterion.benchmark_group("one decision");

    let flags = runtime.block_on(async {
        let store = Arc::new(MemoryStore::new());
        let flags = Flags::open(store, vec![SHARE.declaration()]).await;
        let flags = flags.expect("flags");
        let half = Percent::from_basis_points(5_000).expect("a share");
        let write = Write {
            expected: None,
            set: vec![("share".to_owned(), half.into())],
            who: "bench".to_owned(),
            why: "to be measured".to_owned(),
        };
        flags.write(write).await.expect("a revision");
        flags
    });
    group.bench_function("dspex-flags", |bencher| {
        bencher.iter(|| flags.snapshot().rollout(&SHARE, black_box(KEY)));
    });

    let unleash = ClientBuilder::default()
        .disable_metric_submission()
        .into_client_with_transport::<Share>(
            "http://127.0.0.1:1",
            "bench",
            "bench",
            None,
            Arc::new(Nowhere),
        )
        .expect("a client");
    let features: ClientFeatures = serde_json::from_value(serde_json::json!({
        "version": 2,
        "features": [{"name": "share", "enabled": true, "strategies": [
            {"name": "flexibleRollout",
             "parameters": {"rollout": "50", "stickiness": "userId", "groupId": "share"}}]}],
    }))
    .expect("features");
    unleash.memoize(features).expect("memoized");
    let context = Context {
        user_id: Some(KEY.to_owned()),
        ..Context::default()
    };
    group.bench_function("unleash-api-client", |bencher| {
        bencher.iter(|| unleash.is_enabled(Share, Some(black_box(&context)), false));
    });

    let client = runtime.block_on(async { OpenFeature::singleton().await.create_client() });
    let context = EvaluationContext::default().with_targeting_key(KEY);
    group.bench_function("open-feature, NoOp provider", |bencher| {
        bencher.iter(|| {
            let asked = client.get_bool_value("share", Some(black_box(&context)), None);
            runtime.block_on(asked).unwrap_or_default()
        });
    });
    group.finish();
}

criterion_group!(benches, rivals);
criterion_main!(benches);
