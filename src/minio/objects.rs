//! Buckets and objects, as root: the ledger's documents, and folders in the lake.

use std::time::Duration;

use aws_sdk_s3::{
    config::timeout::TimeoutConfig,
    primitives::ByteStream,
    types::{BucketVersioningStatus, Delete, ObjectIdentifier, VersioningConfiguration},
};

use super::{Minio, MinioError, fault, sdk_error};

/// Deleting a thousand objects takes longer than an ordinary call.
const PURGE_LIMIT: Duration = Duration::from_secs(30);

/// What a write depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Precondition {
    Absent,
    /// The object is the one with this entity tag.
    Unchanged(String),
}

/// An object as it was read.
pub(super) struct Object {
    pub etag: String,
    pub body: Vec<u8>,
}

/// An object as it is listed.
pub(super) struct Listed {
    pub key: String,
    /// In bytes.
    pub size: i64,
    pub etag: String,
}

/// One page of a listing.
pub(super) struct Page {
    pub objects: Vec<Listed>,
    pub truncated: bool,
}

impl Minio {
    /// Makes a bucket, if it is missing.
    pub async fn ensure_bucket(&self, bucket: &str) -> Result<(), MinioError> {
        let _turn = self.turn("CreateBucket").await?;
        fault::point();
        let made = self.s3.create_bucket().bucket(bucket).send().await;
        fault::point();
        match made.map_err(|error| sdk_error("CreateBucket", error)) {
            Ok(_) | Err(MinioError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Keeps every version of what is written to a bucket from now on.
    pub async fn keep_versions(&self, bucket: &str) -> Result<(), MinioError> {
        let enabled = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
        let call = self.s3.put_bucket_versioning().bucket(bucket).versioning_configuration(enabled);
        let _turn = self.turn("PutBucketVersioning").await?;
        fault::point();
        let kept = call.send().await;
        fault::point();
        kept.map(|_| ()).map_err(|error| sdk_error("PutBucketVersioning", error))
    }

    /// Whether both S3 and our credentials work, and it is MinIO that answers: a listing cannot be mistaken.
    pub async fn is_ready(&self, bucket: &str) -> Result<(), MinioError> {
        let list = self.s3.list_objects_v2().bucket(bucket).max_keys(1);
        list.send().await.map(|_| ()).map_err(|error| sdk_error("ListObjectsV2", error))
    }

    /// By a listing, which needs no right to read what is in the lake.
    pub async fn object_exists(&self, bucket: &str, key: &str) -> Result<bool, MinioError> {
        // The key itself is the first of all that begin with it.
        let page = self.list_objects(bucket, key, None, 1).await?;
        Ok(page.objects.first().is_some_and(|first| first.key == key))
    }

    /// Makes a folder: an empty object whose key ends at `/`, as S3A and the console do.
    pub async fn ensure_folder(&self, bucket: &str, prefix: &str) -> Result<(), MinioError> {
        self.ensure_object(bucket, prefix, &[]).await
    }

    /// Puts an object, unless there is one.
    pub async fn ensure_object(&self, bucket: &str, key: &str, body: &[u8]) -> Result<(), MinioError> {
        match self.put_object(bucket, key, body.to_vec(), Precondition::Absent).await {
            Ok(_) | Err(MinioError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The first objects below a prefix: as many as can be deleted at once.
    pub async fn some_objects(&self, bucket: &str, prefix: &str) -> Result<Vec<String>, MinioError> {
        let page = self.list_objects(bucket, prefix, None, 1000).await?;
        Ok(page.objects.into_iter().map(|object| object.key).collect())
    }

    pub async fn delete_objects(&self, bucket: &str, keys: &[String]) -> Result<(), MinioError> {
        let keys = keys.iter().map(|key| ObjectIdentifier::builder().key(key).build());
        let keys = keys
            .collect::<Result<Vec<_>, _>>()
            .and_then(|keys| Delete::builder().set_objects(Some(keys)).quiet(true).build());
        let what = "DeleteObjects";
        let keys = keys.map_err(|_| MinioError::Refused { what: what.into(), code: "InvalidKey".into() })?;
        let _turn = self.turn(what).await?;
        let limit = TimeoutConfig::builder().operation_timeout(PURGE_LIMIT).build();
        let longer = aws_sdk_s3::config::Builder::new().timeout_config(limit);
        let call = self.s3.delete_objects().bucket(bucket).delete(keys);
        fault::point();
        let answer = call.customize().config_override(longer).send().await;
        fault::point();
        match answer.map_err(|error| sdk_error(what, error))?.errors().first() {
            None => Ok(()),
            Some(error) => {
                let code = error.code().unwrap_or_default().to_owned();
                Err(MinioError::Refused { what: what.into(), code })
            }
        }
    }

    /// Writes an object and gives its entity tag. [`MinioError::Conflict`]: the precondition does not hold.
    pub(super) async fn put_object(
        &self,
        bucket: &str,
        key: &str,
        body: Vec<u8>,
        precondition: Precondition,
    ) -> Result<String, MinioError> {
        let put = self.s3.put_object().bucket(bucket).key(key).body(ByteStream::from(body));
        let put = match precondition {
            Precondition::Absent => put.if_none_match("*"),
            Precondition::Unchanged(etag) => put.if_match(etag),
        };
        let _turn = self.turn("PutObject").await?;
        fault::point();
        let answer = put.send().await;
        fault::point();
        let answer = answer.map_err(|error| sdk_error("PutObject", error))?;
        answer.e_tag.ok_or_else(|| without_tag("PutObject"))
    }

    /// `None`: there is no such object.
    pub(super) async fn get_object(&self, bucket: &str, key: &str) -> Result<Option<Object>, MinioError> {
        let what = "GetObject";
        let _turn = self.turn(what).await?;
        match self.s3.get_object().bucket(bucket).key(key).send().await.map_err(|error| sdk_error(what, error)) {
            Ok(answer) => {
                // An empty object means something; an empty answer of somebody else's does not.
                let etag = answer.e_tag.ok_or_else(|| without_tag(what))?;
                // The SDK's limit ends with the headers.
                let body = tokio::time::timeout(super::CALL_LIMIT, answer.body.collect()).await;
                let away = |reason: &str| MinioError::Unavailable { what: what.into(), reason: reason.into() };
                let body = body.map_err(|_| away("the body stalls"))?.map_err(|_| away("the body breaks off"))?;
                Ok(Some(Object { etag, body: body.to_vec() }))
            }
            Err(MinioError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Everything that begins with a prefix, page after page.
    pub(super) async fn list_all(&self, bucket: &str, prefix: &str) -> Result<Vec<Listed>, MinioError> {
        let mut all: Vec<Listed> = Vec::new();
        loop {
            let after = all.last().map(|object| object.key.as_str());
            let page = self.list_objects(bucket, prefix, after, 1000).await?;
            all.extend(page.objects);
            if !page.truncated {
                return Ok(all);
            }
        }
    }

    pub(super) async fn list_objects(
        &self,
        bucket: &str,
        prefix: &str,
        after: Option<&str>,
        limit: i32,
    ) -> Result<Page, MinioError> {
        let _turn = self.turn("ListObjectsV2").await?;
        let list = self.s3.list_objects_v2().bucket(bucket).prefix(prefix).max_keys(limit);
        let answer = list.set_start_after(after.map(str::to_owned)).send().await;
        let answer = answer.map_err(|error| sdk_error("ListObjectsV2", error))?;
        let listed = |object: aws_sdk_s3::types::Object| {
            Some(Listed {
                key: object.key?,
                size: object.size.unwrap_or_default(),
                etag: object.e_tag.unwrap_or_default(),
            })
        };
        Ok(Page {
            objects: answer.contents.unwrap_or_default().into_iter().filter_map(listed).collect(),
            truncated: answer.is_truncated.unwrap_or_default(),
        })
    }
}

/// MinIO always says which object it is. What does not is something else that answers in its place.
fn without_tag(what: &str) -> MinioError {
    MinioError::Unavailable { what: what.into(), reason: "an answer without an entity tag".into() }
}
