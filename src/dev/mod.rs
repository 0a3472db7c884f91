//! `lakepass dev`: a whole lake in one command. The tests use its parts too.

mod demo;
pub mod kbase_auth;
pub mod minio_server;
mod tools;

pub use self::{
    demo::{DevOptions, run},
    tools::{MC, MINIO, Tool},
};
