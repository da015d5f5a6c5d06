//! A circuit before a tower service.

#![cfg(feature = "tower")]

use std::time::Duration;

use dspex_breaker::{
    CallError, Circuit, CircuitConfig, CircuitLayer, CircuitState, Classified, ErrorClass,
};
use tokio::time::Instant;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

async fn answer(good: bool) -> Result<&'static str, ErrorClass> {
    if good {
        Ok("fine")
    } else {
        Err(ErrorClass::Connection)
    }
}

fn judge(class: &ErrorClass) -> Classified {
    Classified::of(*class)
}

#[tokio::test(start_paused = true)]
async fn it_lets_pass_refuses_and_probes() {
    let circuit = Circuit::new("service", CircuitConfig::default()).unwrap();
    let mut service = ServiceBuilder::new()
        .layer(CircuitLayer::new(circuit.clone(), judge))
        .service(service_fn(answer));
    assert_eq!(service.ready().await.unwrap().call(true).await, Ok("fine"));
    // Four of five failed.
    for _ in 0..4 {
        let failed = service.ready().await.unwrap().call(false).await;
        assert_eq!(failed, Err(CallError::Failed(ErrorClass::Connection)));
    }
    let refused = service.ready().await.unwrap().call(true).await;
    assert!(matches!(refused, Err(CallError::Refused(_))), "{refused:?}");

    tokio::time::advance(Duration::from_secs(60)).await;
    // Responses that nobody waits for give their places back.
    for _ in 0..10 {
        drop(service.ready().await.unwrap().call(true));
    }
    for _ in 0..3 {
        assert_eq!(service.ready().await.unwrap().call(true).await, Ok("fine"));
    }
    assert_eq!(circuit.state(Instant::now()), CircuitState::Closed);
}
