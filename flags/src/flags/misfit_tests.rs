//! What must hold of handles that fit no declaration.

use super::*;
use crate::flag::Flag;
use crate::percent::Percent;
use crate::store::MemoryStore;

const SWITCH: Flag<bool> = Flag {
    key: "switch",
    default: false,
    description: "a switch",
    owner: "tests",
};
const LIMIT: Flag<f64> = Flag {
    key: "limit",
    default: 2.5,
    description: "a number",
    owner: "tests",
};

#[tokio::test]
async fn a_handle_that_nobody_declared_answers_with_its_default_and_is_told() {
    const TYPO: Flag<bool> = Flag {
        key: "swich",
        default: true,
        ..SWITCH
    };
    const NO_SHARE: Flag<Percent> = Flag {
        key: "share",
        default: Percent::HUNDRED,
        description: "a share",
        owner: "tests",
    };
    // Declared, and as a number.
    const NO_TEXT: Flag<&str> = Flag {
        key: "limit",
        default: "hello",
        description: "a text",
        owner: "tests",
    };
    let declared = vec![SWITCH.declaration(), LIMIT.declaration()];
    let flags = Flags::open(Arc::new(MemoryStore::new()), declared)
        .await
        .unwrap();
    let snapshot = flags.snapshot();
    assert!(!snapshot.enabled(&SWITCH) && snapshot.value(&LIMIT) > 2.0);
    assert_eq!(snapshot.misfits(), Vec::<&str>::new());
    for _ in 0..2 {
        assert!(snapshot.enabled(&TYPO) && snapshot.rollout(&NO_SHARE, "ada"));
        assert_eq!(snapshot.value(&NO_TEXT), "hello");
    }
    assert_eq!(flags.snapshot().misfits(), ["limit", "share", "swich"]);
}
