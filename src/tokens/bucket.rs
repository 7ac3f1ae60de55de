//! Sealed tokens in a bucket of the broker.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::TokenBackend;
use crate::broker::{Bucket, Catalogue, Result};

/// Keeps tokens in [`Bucket::Tokens`].
pub struct TokenBucket(Arc<dyn Catalogue>);

impl TokenBucket {
    /// In the bucket of this catalogue.
    pub fn new(catalogue: Arc<dyn Catalogue>) -> Self {
        Self(catalogue)
    }
}

impl fmt::Debug for TokenBucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenBucket")
    }
}

#[async_trait]
impl TokenBackend for TokenBucket {
    async fn get(&self, key: &str) -> Result<(Option<String>, u64)> {
        let (value, revision) = self.0.get_to_change(Bucket::Tokens, key).await?;
        Ok((value.map(|value| String::from_utf8_lossy(&value).into_owned()), revision))
    }

    async fn put_over(&self, key: &str, sealed: String, revision: u64, kept: Option<Duration>) -> Result<()> {
        self.0.put_over(Bucket::Tokens, key, sealed.into(), revision, kept).await
    }

    async fn list(&self) -> Result<Vec<(String, String)>> {
        let entries = self.0.list(Bucket::Tokens, None).await?;
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        Ok(entries.into_iter().map(|entry| (entry.key, text(&entry.value))).collect())
    }

    async fn delete(&self, key: &str) -> Result<()> {
        self.0.delete(Bucket::Tokens, key).await
    }

    fn place(&self) -> String {
        "the NATS server".to_owned()
    }
}
