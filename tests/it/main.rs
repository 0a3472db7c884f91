//! The integration tests: each module is a promise, kept against a real MinIO.

mod admin_api;
mod agent;
mod audit;
mod aws;
mod clients;
mod console;
mod crashes;
mod credential_process;
mod decisions;
mod drift;
mod edge;
mod go;
mod identity;
mod import;
mod keys;
mod ledger;
mod lifecycle;
mod outages;
mod privilege;
mod programs;
mod revocation;
mod sealing;
mod sharing;
mod stalls;
mod support;
