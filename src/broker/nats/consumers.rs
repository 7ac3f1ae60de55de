//! JetStream's consumers: making one, and looking at it.

use std::time::Duration;

use serde_json::{Value, json};

use super::server::{CONSUMER_NOT_FOUND, JetStreamError, NatsConnection, STREAM_NOT_FOUND, unavailable};
use crate::broker::Result;

/// Makes a consumer; one that is there with the same settings is left as it is.
pub(super) async fn make_consumer(server: &NatsConnection, stream: &str, name: &str, config: Value) -> Result<()> {
    let doing = format!("make the consumer {name} of the stream {stream}");
    let filter = config["filter_subject"].as_str().unwrap_or_default();
    let call = format!("CONSUMER.CREATE.{stream}.{name}.{filter}");
    let body = json!({ "stream_name": stream, "config": config, "action": "" });
    match server.api::<Value>(&doing, call, &body).await? {
        Ok(_) => Ok(()),
        // FastAgency's stream is there once a worker was: not yet is no refusal.
        Err(error) if error.err_code == STREAM_NOT_FOUND => Err(unavailable(&doing, error.description)),
        Err(error) => Err(error.into_broker(&doing)),
    }
}

/// What the server says of a consumer; `None`: it is not there.
pub(super) async fn consumer_config(server: &NatsConnection, stream: &str, name: &str) -> Result<Option<Value>> {
    let doing = format!("look at the consumer {name} of the stream {stream}");
    let call = format!("CONSUMER.INFO.{stream}.{name}");
    match server.api::<Value>(&doing, call, &Value::Null).await? {
        Ok(mut info) => Ok(Some(info["config"].take())),
        Err(JetStreamError { err_code: CONSUMER_NOT_FOUND, .. }) => Ok(None),
        Err(error) if error.err_code == STREAM_NOT_FOUND => Err(unavailable(&doing, error.description)),
        Err(error) => Err(error.into_broker(&doing)),
    }
}

/// A span as JetStream writes it.
pub(super) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(i64::MAX as u64).min(i64::MAX as u64)
}
