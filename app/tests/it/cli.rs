//! The command line, as scripts and people see it: what is printed where, and the exit code.
//!
//! The server on the other side is a script of answers, so that every answer there can be is shown
//! to the client, those of a server in trouble among them.

mod fake_server;
mod flags;
mod local;
mod remote;
mod run;
mod served;
mod watch;
