//! What an answer used, from the counts that its server sends: at the end, in every piece (the tokens so far, or those of the
//! piece alone), in parts, or not at all. What is not sent is estimated, and marked: a limit that rests on nothing never holds.

use serde_json::Value;

use super::content::text_of;
use crate::protocol::dialogue::{ModelReply, ModelRequest, ModelUsage};

/// Puts the counts of one answer together.
#[derive(Debug, Default)]
pub(super) struct UsageMeter {
    usage: ModelUsage,
    /// The last count of tokens written, and the sum of those before it.
    last: u64,
    before: u64,
    /// How much had been written then.
    written: usize,
    /// The counts are those of single pieces.
    by_piece: bool,
}

impl UsageMeter {
    /// Takes the counts in a piece of the answer; `written`: how much of the reply has come with it and before it.
    pub(super) fn take(&mut self, counts: &ModelUsage, written: usize) {
        let usage = &mut self.usage;
        usage.prompt_tokens = usage.prompt_tokens.max(counts.prompt_tokens);
        usage.cached_tokens = usage.cached_tokens.max(counts.cached_tokens);
        usage.cache_write_tokens = usage.cache_write_tokens.max(counts.cache_write_tokens);
        usage.reasoning_tokens = usage.reasoning_tokens.max(counts.reasoning_tokens);
        let tokens = counts.completion_tokens;
        if tokens == 0 {
            return;
        }
        // A count of all tokens grows with the text.
        self.by_piece |= self.last > 0 && tokens <= self.last && written > self.written;
        self.before = self.before.saturating_add(self.last);
        (self.last, self.written) = (tokens, written);
        usage.completion_tokens = usage.completion_tokens.max(tokens);
    }

    /// What was used, as far as it was told.
    pub(super) fn usage(&self) -> ModelUsage {
        let largest = self.usage.completion_tokens;
        let sum = self.before.saturating_add(self.last);
        // Counts that do not grow are those of single pieces (at the end their sum may be told), or the same total each time:
        // what is nearer to the length of the text.
        let length = u128::from(tokens_of(self.written));
        let is_sum =
            self.by_piece && self.last != self.before && u128::from(sum) * u128::from(largest) < length * length;
        ModelUsage { completion_tokens: if is_sum { sum } else { largest }, ..self.usage }
    }
}

/// About how many bytes of text are one token: of English a little more, of Chinese and Japanese a little less.
const BYTES_PER_TOKEN: usize = 4;
/// About what an image takes.
const IMAGE_TOKENS: u64 = 1000;

/// Fills in what the server did not count, and marks it as an estimate.
pub(super) fn with_estimates(mut reply: ModelReply, request: &ModelRequest) -> ModelReply {
    let usage = &mut reply.usage;
    if usage.prompt_tokens == 0 {
        usage.prompt_tokens = tokens_read(request);
        usage.estimated = true;
    }
    let texts = [&reply.content, &reply.refusal].into_iter().flatten().map(String::len);
    let calls = reply.tool_calls.iter().map(|call| call.function.name.len() + call.function.arguments.len());
    let written = texts.chain(calls).sum::<usize>();
    if usage.completion_tokens == 0 && written > 0 {
        usage.completion_tokens = tokens_of(written);
        usage.estimated = true;
    }
    reply
}

fn tokens_read(request: &ModelRequest) -> u64 {
    let mut bytes = 0;
    let mut images = 0;
    for message in &request.messages {
        bytes += text_of(&message.content).map_or(0, |text| text.len());
        bytes += message.name.as_ref().map_or(0, String::len);
        let calls = message.tool_calls.iter();
        bytes += calls.map(|call| call.function.name.len() + call.function.arguments.len()).sum::<usize>();
        let is_image = |part: &&Value| part.get("image_url").is_some();
        images += message.content.as_array().map_or(0, |parts| parts.iter().filter(is_image).count() as u64);
    }
    let forms = request.tools.iter().chain(&request.response_format);
    bytes += forms.map(|form| form.to_string().len()).sum::<usize>();
    tokens_of(bytes).max(1) + images * IMAGE_TOKENS
}

fn tokens_of(bytes: usize) -> u64 {
    bytes.div_ceil(BYTES_PER_TOKEN) as u64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::testing::{asking, shared};

    fn written(counts: &[(u64, usize)]) -> u64 {
        let mut meter = UsageMeter::default();
        for (completion_tokens, written) in counts {
            meter.take(&ModelUsage { completion_tokens: *completion_tokens, ..ModelUsage::default() }, *written);
        }
        meter.usage().completion_tokens
    }

    #[test]
    fn counts_are_those_so_far_or_those_of_each_piece() {
        assert_eq!(written(&[(1, 4), (2, 8), (5, 20), (5, 20)]), 5, "so far, and again at the end");
        assert_eq!(written(&[(0, 4), (0, 8), (7, 8)]), 7, "at the end");
        assert_eq!(written(&[(1, 4), (1, 8), (1, 12)]), 3, "of each piece");
        assert_eq!(written(&[(1, 4), (1, 8), (1, 12), (3, 12)]), 3, "of each piece, and the sum at the end");
        assert_eq!(written(&[(3, 12), (2, 20), (4, 36)]), 9);
        assert_eq!(written(&[(35, 5), (35, 12), (35, 17)]), 35, "the same total each time");
        assert_eq!(written(&[(7, 4), (0, 4)]), 7, "nothing at the end");
        let mut meter = UsageMeter::default();
        meter.take(&ModelUsage { prompt_tokens: 10, cached_tokens: 4, ..ModelUsage::default() }, 0);
        meter.take(&ModelUsage { completion_tokens: 5, ..ModelUsage::default() }, 9);
        let both = ModelUsage { prompt_tokens: 10, completion_tokens: 5, cached_tokens: 4, ..ModelUsage::default() };
        assert_eq!(meter.usage(), both, "in parts");
    }

    #[test]
    fn what_is_not_counted_is_estimated_and_marked() {
        let reply = |content: &str, usage: ModelUsage| ModelReply {
            content: Some(content.to_owned()),
            tool_calls: Vec::new(),
            refusal: None,
            finish_reason: None,
            usage,
            model: "m".to_owned(),
        };
        // "You are a math teacher." and the question
        let request = asking(&"x".repeat(77));
        let nothing = with_estimates(reply("12345", ModelUsage::default()), &request).usage;
        assert_eq!((nothing.prompt_tokens, nothing.completion_tokens, nothing.estimated), (25, 2, true));
        let told = ModelUsage { prompt_tokens: 7, completion_tokens: 3, ..ModelUsage::default() };
        assert_eq!(with_estimates(reply("12345", told), &request).usage, told);
        let half = with_estimates(reply("12345", ModelUsage { prompt_tokens: 7, ..ModelUsage::default() }), &request);
        assert_eq!((half.usage.prompt_tokens, half.usage.completion_tokens, half.usage.estimated), (7, 2, true));
        let silent = ModelUsage { prompt_tokens: 7, ..ModelUsage::default() };
        assert_eq!(with_estimates(reply("", silent), &request).usage, silent, "nothing was written");

        let image = json!([{"type": "image_url", "image_url": {"url": format!("data:{}", "x".repeat(100_000))}}]);
        let mut message = (*request.messages[1]).clone();
        message.content = image;
        let shown = ModelRequest { messages: shared([message]), ..ModelRequest::default() };
        assert_eq!(tokens_read(&shown), IMAGE_TOKENS + 1);
    }
}
