//! The integration tests: each module is a promise, kept against a real MinIO.

mod admin_api;
mod clients;
mod decisions;
mod edge;
mod keys;
mod lifecycle;
mod revocation;
mod sharing;
mod stalls;
mod support;
