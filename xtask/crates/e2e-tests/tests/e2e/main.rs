//! Tests of the real daemons with a real engine: `cargo xtask e2e`.
//!
//! Each test has a cluster of its own, made of processes on this machine. What the tiny model
//! answers is known word by word, so a lost, doubled or foreign token fails a test.

mod abandoned_requests;
mod access;
mod affinity;
mod auth;
mod bad_handoffs;
mod both_profiles;
mod by_hand;
mod bytes;
mod canary;
mod check;
mod clients;
mod command_line;
mod conversation;
mod conversations;
mod crowd;
mod dashboard;
mod disconnects;
mod discovery;
mod documents;
mod engine;
mod engines;
mod figures;
mod generated_clients;
mod generated_requests;
mod gpus;
mod handoff;
mod home;
mod http2;
mod join_command;
mod join_identities;
mod joining;
mod load;
mod many_clients;
mod metrics;
mod nodes;
mod outages;
mod provisioning;
mod queue;
mod refusals;
mod restarts;
mod smuggling;
mod store;
mod terminal;
mod tls;
mod usage;
mod watching;
