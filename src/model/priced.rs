//! Counts what the replies of a model cost, by its price.

use std::sync::Arc;

use async_trait::async_trait;

use super::{ChatModel, Error, ModelProgress};
use crate::config::ModelPrice;
use crate::money::Usd;
use crate::protocol::dialogue::{ModelReply, ModelRequest, ModelUsage};

/// A model and its price.
pub(super) struct PricedModel {
    model: Arc<dyn ChatModel>,
    price: ModelPrice,
}

impl PricedModel {
    /// Puts a price on a model.
    pub(super) fn new(model: Arc<dyn ChatModel>, price: ModelPrice) -> Self {
        Self { model, price }
    }
}

#[async_trait]
impl ChatModel for PricedModel {
    async fn complete(
        &self,
        request: &ModelRequest,
        progress: &mut (dyn for<'a> FnMut(ModelProgress<'a>) + Send),
    ) -> Result<ModelReply, Error> {
        let mut reply = self.model.complete(request, progress).await?;
        reply.usage.cost_usd = cost(&self.price, &reply.usage);
        Ok(reply)
    }
}

/// What was used, at that price. Tokens of a cache cost what other tokens read do, where the table has no price for them.
fn cost(price: &ModelPrice, usage: &ModelUsage) -> Usd {
    let ModelUsage { prompt_tokens, completion_tokens, cached_tokens, cache_write_tokens, .. } = *usage;
    let plain = prompt_tokens.saturating_sub(cached_tokens).saturating_sub(cache_write_tokens);
    price.input.for_units(plain)
        + price.cached_input.unwrap_or(price.input).for_units(cached_tokens)
        + price.cache_write.unwrap_or(price.input).for_units(cache_write_tokens)
        + price.output.for_units(completion_tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_token_has_its_price() {
        let usd = Usd::from_dollars;
        let all = ModelPrice {
            input: usd(3.0),
            output: usd(15.0),
            cached_input: Some(usd(0.3)),
            cache_write: Some(usd(3.75)),
        };
        let usage = ModelUsage {
            prompt_tokens: 1_000_000,
            completion_tokens: 100_000,
            cached_tokens: 500_000,
            cache_write_tokens: 200_000,
            reasoning_tokens: 50_000,
            ..ModelUsage::default()
        };
        assert_eq!(cost(&all, &usage), usd(0.9 + 0.15 + 0.75 + 1.5));
        let plain = ModelPrice { cached_input: None, cache_write: None, ..all };
        assert_eq!(cost(&plain, &usage), usd(3.0 + 1.5));
        let odd = ModelUsage { prompt_tokens: 1, cached_tokens: 1_000_000, ..ModelUsage::default() };
        assert_eq!(cost(&all, &odd), usd(0.3), "a server that counts the cache apart");
    }
}
