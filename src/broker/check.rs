//! What an operator should know of the MinIO behind.

use super::Broker;
use crate::{
    lake::{Access, LakePath, Reach},
    minio::{CANARY_PREFIX, Listing, MinioError},
    policy::LivePolicy,
};

impl Broker {
    /// Whether this MinIO lists what our policies allow, and nothing else. Tried in the ledger's bucket.
    pub async fn check_listing(&self) -> Result<Listing, MinioError> {
        let folder: LakePath = CANARY_PREFIX.parse().expect("it is a legal path");
        let reach = vec![Reach::forever(folder, Access::Read)];
        let policy = LivePolicy::of_writers(&self.templates, self.ledger.bucket(), &[], reach);
        let document = policy.documents().first().map(|document| document.to_json()).unwrap_or_default();
        self.minio.try_listing(self.ledger.bucket(), &document, self.now()).await
    }
}
