//! Policies: from who may reach what, to the documents that MinIO enforces. Pure.
//!
//! Must not know HTTP, MinIO, the ledger or the time. The words of the policies are the templates' (`policies/`); this
//! module only fills in paths, in typed documents that are serialised once.

mod document;
mod live;
mod narrowing;
mod session;
mod template;

pub use self::{
    document::{Effect, PolicyDocument, Statement},
    live::{LivePolicy, MAX_LIVE_BYTES},
    narrowing::{Narrowing, NarrowingError},
    session::{MAX_SESSION_BYTES, SessionPolicy, TooLarge},
    template::{TemplateError, Templates},
};
