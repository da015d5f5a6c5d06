//! The HTTP face on a house of fakes: no process, no file but the admin token's.

mod bench;
mod circuits;
mod dashboard;
mod feed;
mod flag_stores;
mod flags_and_migrations;
mod hosts;
mod ofrep;
mod ofrep_events;
mod openapi;
mod pools;
mod programs;
mod requests;
mod server;
mod sessions;
mod shadow;
mod streams;
mod validations;
