//! What tests of pools and of their users share: a scripted pool and the conformance battery.
//!
//! Read in this order: [`FakePool`], [`fixture_programs`] (what the fixture's callables mean),
//! [`conformance`] (what must hold for every pool), [`real`] (what starting real workers takes).
//!
//! Invariant: nothing here starts a process or sleeps without a deadline.

pub mod conformance;
mod fake;
pub mod fixture_programs;
pub mod real;

pub use fake::FakePool;
