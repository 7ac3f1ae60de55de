//! Answers as servers really send them, cut everywhere.

use super::*;
use crate::model::draft::{LARGEST_COUNT, LONGEST_REPLY};
use crate::model::openai::ChatCompletionsApi;
use crate::model::testing::{event, saying};
use crate::protocol::dialogue::ModelUsage;
use serde_json::json;

/// Reads an answer in pieces; gives the reply (or the error's words) and the texts that were shown.
fn read_pieces<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    events: bool,
) -> (Result<ModelReply, String>, Vec<String>) {
    let mut shown = Vec::new();
    let mut show = |text: &str| shown.push(text.to_owned());
    let mut reader = AnswerReader::new("m", &ChatCompletionsApi, events);
    let mut outcome = Ok(());
    for piece in pieces {
        match reader.feed(piece, &mut show) {
            Ok(AnswerPiece::End) => break,
            Ok(AnswerPiece::Nothing | AnswerPiece::Part) => {}
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
    }
    let reply = outcome.and_then(|()| reader.end(&mut show)).map_err(|error| error.to_string());
    (reply, shown)
}

fn read(text: &str) -> (Result<ModelReply, String>, Vec<String>) {
    read_pieces([text.as_bytes()], true)
}

fn reply(text: &str) -> ModelReply {
    read(text).0.unwrap()
}

fn failure(text: &str) -> String {
    read(text).0.unwrap_err()
}

fn delta(delta: Value) -> String {
    event(&json!({"choices": [{"index": 0, "delta": delta, "finish_reason": null}]}))
}

fn ending(reason: &str) -> String {
    event(&json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})) + "data: [DONE]\n\n"
}

fn whole(message: Value) -> String {
    json!({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).to_string()
}

fn calls(reply: &ModelReply) -> Vec<(&str, &str, &str)> {
    let calls = reply.tool_calls.iter();
    calls.map(|call| (call.id.as_str(), call.function.name.as_str(), call.function.arguments.as_str())).collect()
}

#[test]
fn a_stream_becomes_a_reply() {
    let (outcome, shown) = read(&saying(&["", "Pi ", "is ", "3.14."]));
    let expected = ModelReply {
        content: Some("Pi is 3.14.".to_owned()),
        tool_calls: vec![],
        refusal: None,
        finish_reason: Some("stop".to_owned()),
        usage: ModelUsage { prompt_tokens: 10, completion_tokens: 5, ..ModelUsage::default() },
        model: "m".to_owned(),
    };
    assert_eq!(outcome, Ok(expected));
    assert_eq!(shown, ["", "Pi ", "is ", "3.14."]);
}

#[test]
fn calls_are_put_together_by_index() {
    let call = |index: u64, id: Value, name: Value, arguments: &str| {
        delta(
            json!({"tool_calls": [{"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": arguments}}]}),
        )
    };
    let text = delta(json!({"role": "assistant", "content": null}))
        + &call(0, json!("call_a"), json!("weather"), "")
        + &call(1, json!("call_b"), json!("time"), "")
        + &call(0, Value::Null, Value::Null, "{\"city\": ")
        + &call(1, Value::Null, Value::Null, "{}")
        + &call(0, json!("call_a"), json!("weather"), "\"Rome\"}")
        + &ending("tool_calls");
    let reply = reply(&text);
    assert_eq!(reply.content.as_deref(), Some(""), "a stream without text is the empty text");
    assert_eq!(calls(&reply), [("call_a", "weather", "{\"city\": \"Rome\"}"), ("call_b", "time", "{}")]);
    assert_eq!(reply.tool_calls[0].kind, "function");
}

#[test]
fn a_call_without_arguments_has_none_however_a_server_writes_that() {
    for nothing in [json!(""), json!(" \n"), Value::Null] {
        let call = json!({"index": 0, "id": "c", "function": {"name": "go", "arguments": nothing}});
        let streamed = delta(json!({"tool_calls": [call]})) + &ending("tool_calls");
        assert_eq!(calls(&reply(&streamed)), [("c", "go", "{}")], "{nothing}");
        assert_eq!(calls(&reply(&whole(json!({"tool_calls": [call]})))), [("c", "go", "{}")], "{nothing}");
    }
}

#[test]
fn calls_without_ids_or_indexes_are_told_apart() {
    let without_index = delta(json!({"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{"}}]}))
        + &delta(json!({"tool_calls": [{"function": {"arguments": "}"}}]}))
        + &delta(json!({"tool_calls": [{"id": "b", "function": {"name": "f", "arguments": "{}"}}]}))
        + &ending("tool_calls");
    assert_eq!(calls(&reply(&without_index)), [("a", "f", "{}"), ("b", "f", "{}")]);

    let piece = |arguments: &str| {
        delta(json!({"tool_calls": [{"id": "look", "function": {"name": "look", "arguments": arguments}}]}))
    };
    let same_id = piece("{\"a\":") + &piece(" 1}") + &piece("{\"b\": 2}") + &piece("") + &ending("tool_calls");
    assert_eq!(calls(&reply(&same_id)), [("look", "look", "{\"a\": 1}"), ("look", "look", "{\"b\": 2}")]);

    let same_index =
        delta(json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}]}))
            + &delta(
                json!({"tool_calls": [{"index": 0, "id": "b", "function": {"name": "g", "arguments": {"x": 1}}}]}),
            )
            + &ending("tool_calls");
    assert_eq!(calls(&reply(&same_index)), [("a", "f", "{}"), ("b", "g", "{\"x\":1}")]);

    let message = json!({"content": null, "tool_calls": [
        {"function": {"name": "f", "arguments": {"x": [1]}}}, {"id": null, "function": {"name": "f"}}, {"id": "c", "function": null},
    ]});
    let reply = reply(&whole(message));
    let [first, second, third] = reply.tool_calls.as_slice() else { panic!("{reply:?}") };
    assert_eq!((first.function.arguments.as_str(), second.function.arguments.as_str()), ("{\"x\":[1]}", "{}"));
    assert!(first.id.starts_with("call_") && second.id.starts_with("call_") && first.id != second.id);
    assert_eq!((third.id.as_str(), third.function.name.as_str()), ("c", ""));
}

#[test]
fn a_call_stays_one_where_a_server_makes_up_an_id_or_an_index_for_each_piece() {
    let text = |pieces: &[Value]| {
        let all: String = pieces.iter().map(|piece| delta(json!({"tool_calls": [piece]}))).collect();
        all + &ending("tool_calls")
    };
    let other_ids = text(&[
        json!({"index": 0, "id": "chatcmpl-tool-1", "function": {"name": "f", "arguments": ""}}),
        json!({"index": 0, "id": "call_2", "function": {"arguments": "{\"a\":"}}),
        json!({"index": 0, "id": "call_3", "function": {"name": "", "arguments": " 1}"}}),
        json!({"index": 1, "id": "call_4", "function": {"name": "g", "arguments": "{}"}}),
    ]);
    assert_eq!(calls(&reply(&other_ids)), [("chatcmpl-tool-1", "f", "{\"a\": 1}"), ("call_4", "g", "{}")]);
    let other_indexes = text(&[
        json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}}),
        json!({"index": 1, "id": "a", "function": {"name": "", "arguments": "{\"a\":"}}),
        json!({"index": 2, "id": "a", "function": {"name": "f", "arguments": " 1}"}}),
        json!({"index": 3, "id": "b", "function": {"name": "g", "arguments": "{}"}}),
    ]);
    assert_eq!(calls(&reply(&other_indexes)), [("a", "f", "{\"a\": 1}"), ("b", "g", "{}")]);
    let id_before_name = [
        json!({"id": "a", "type": "function", "function": {}}),
        json!({"function": {"name": "f"}}),
        json!({"function": {"arguments": "{}"}}),
        json!({"id": "b", "function": null}),
        json!({"function": {"name": "g", "arguments": "{\"a\":"}}),
        json!({"function": {"arguments": " 1}"}}),
    ];
    assert_eq!(calls(&reply(&text(&id_before_name))), [("a", "f", "{}"), ("b", "g", "{\"a\": 1}")]);
    let same_ids = text(&[
        json!({"index": 0, "id": "f", "function": {"name": "f", "arguments": "{\"a\": 1}"}}),
        json!({"index": 1, "id": "f", "function": {"name": "f", "arguments": "{\"a\": 2}"}}),
    ]);
    assert_eq!(calls(&reply(&same_ids)), [("f", "f", "{\"a\": 1}"), ("f", "f", "{\"a\": 2}")], "two are two");
    let begun_together = text(&[
        json!({"index": 0, "id": "call_f", "function": {"name": "f", "arguments": ""}}),
        json!({"index": 1, "id": "call_f", "function": {"name": "f", "arguments": ""}}),
        json!({"index": 0, "function": {"arguments": "{}"}}),
        json!({"index": 1, "function": {"arguments": "{}"}}),
    ]);
    assert_eq!(calls(&reply(&begun_together)), [("call_f", "f", "{}"), ("call_f", "f", "{}")]);
}

#[test]
fn a_server_that_ignores_the_wish_for_a_stream() {
    for text in [whole(json!({"content": "Pi."})), format!("\n \u{20}{}\n", whole(json!({"content": "Pi."})))] {
        for events in [true, false] {
            let (outcome, shown) = read_pieces([text.as_bytes()], events);
            assert_eq!((outcome.unwrap().content.as_deref(), shown), (Some("Pi."), vec!["Pi.".to_owned()]));
        }
    }
    let undeclared = read_pieces([saying(&["Pi."]).as_bytes()], false);
    assert_eq!(undeclared.0.unwrap().content.as_deref(), Some("Pi."));
}

#[test]
fn odd_but_clear_answers_are_understood() {
    let content = |text: &str| reply(text).content;
    let pi = Some("Pi.".to_owned());
    assert_eq!(content(&saying(&["Pi", "."]).replace('\n', "\r\n")), pi);
    assert_eq!(content(&format!(": hello\n\n: keep-alive\n\n{}", saying(&["Pi."]))), pi, "comments");
    assert_eq!(content(&format!("event: ping\ndata: {{}}\n\n{}", saying(&["Pi."]))), pi, "events of another kind");
    assert_eq!(content(&saying(&["Pi."]).replace("data: [DONE]\n\n", "")), pi, "no [DONE]");
    assert_eq!(content(&saying(&["Pi."]).replace("data: [DONE]\n\n", "data: [DONE]")), pi, "no empty line at the end");
    assert_eq!(content(&(delta(json!({"content": "Pi."})) + "data: [DONE]\n\n")), pi, "no reason to finish");
    assert_eq!(content(&saying(&["Pi."]).replace("data: {", "data:{")), pi);
    assert_eq!(
        content("data: {\"choices\": [{\"delta\":\ndata: {\"content\": \"Pi.\"}}]}\n\ndata: [DONE]\n\n"),
        pi,
        "data of two lines"
    );
    assert_eq!(
        content(&whole(json!({"content": [{"type": "text", "text": "P"}, {"type": "image"}, "i."]}))),
        pi,
        "parts"
    );
    assert_eq!(content(&whole(json!({"content": null}))), None);
    assert_eq!(content(&whole(json!({"role": "assistant"}))), None);
    assert_eq!(content(&whole(json!({"content": ""}))), Some(String::new()));
    assert_eq!(
        content(&(delta(json!({"content": null, "reasoning_content": "hm"})) + &ending("stop"))),
        Some(String::new())
    );
    let others = event(
        &json!({"choices": [{"index": 1, "delta": {"content": "no"}}, {"index": 0, "delta": {"content": "Pi."}}]}),
    );
    assert_eq!(content(&(others + &ending("stop"))), pi, "the first choice counts");
    let both =
        event(&json!({"choices": [{"delta": {"content": "Pi."}, "message": {"content": "Pi."}}], "error": null}));
    assert_eq!(content(&(both + &ending("stop"))), pi, "a delta and a message");
    assert_eq!(content(&format!("\u{feff}{}", whole(json!({"content": "Pi."})))), pi, "a byte order mark");
}

#[test]
fn usage_may_be_anywhere_or_nowhere() {
    let usage = |chunk: Value| reply(&(delta(json!({"content": "x"})) + &event(&chunk) + &ending("stop"))).usage;
    let both =
        |prompt_tokens, completion_tokens| ModelUsage { prompt_tokens, completion_tokens, ..ModelUsage::default() };
    assert_eq!(usage(json!({})), both(0, 0));
    assert_eq!(usage(json!({"usage": null, "choices": []})), both(0, 0));
    assert_eq!(usage(json!({"usage": {"prompt_tokens": 7}})), both(7, 0));
    assert_eq!(usage(json!({"usage": {"prompt_tokens": 7.0, "completion_tokens": -3.0}})), both(7, 0));
    assert_eq!(usage(json!({"usage": {"prompt_tokens": "7", "completion_tokens": 1e300}})), both(0, LARGEST_COUNT));
    assert_eq!(usage(json!({"x_groq": {"usage": {"prompt_tokens": 1, "completion_tokens": 2}}})), both(1, 2));
}

#[test]
fn what_a_cache_and_thoughts_cost_is_counted_wherever_a_server_says_it() {
    let usage = |usage: Value| {
        let chunk = event(&json!({"choices": [], "usage": usage}));
        let found = reply(&(delta(json!({"content": "x"})) + &chunk + &ending("stop"))).usage;
        let ModelUsage {
            prompt_tokens, completion_tokens, cached_tokens, cache_write_tokens, reasoning_tokens, ..
        } = found;
        [prompt_tokens, completion_tokens, cached_tokens, cache_write_tokens, reasoning_tokens]
    };
    let counts = |more: Value| {
        let mut counts = json!({"prompt_tokens": 100, "completion_tokens": 9, "total_tokens": 109});
        counts.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        usage(counts)
    };
    let openai =
        json!({"prompt_tokens_details": {"cached_tokens": 60}, "completion_tokens_details": {"reasoning_tokens": 5}});
    assert_eq!(counts(openai), [100, 9, 60, 0, 5], "the thoughts are among what was written");
    assert_eq!(counts(json!({"cached_tokens": 60})), [100, 9, 60, 0, 0], "Moonshot");
    let deepseek = json!({"prompt_cache_hit_tokens": 60, "prompt_cache_miss_tokens": 40});
    assert_eq!(counts(deepseek), [100, 9, 60, 0, 0], "DeepSeek");
    let both = json!({"prompt_tokens_details": {"cached_tokens": 60}, "prompt_cache_hit_tokens": 60});
    assert_eq!(counts(both), [100, 9, 60, 0, 0], "not twice");
    let proxy = json!({"cache_read_input_tokens": 60, "cache_creation_input_tokens": 20});
    assert_eq!(counts(proxy), [100, 9, 60, 20, 0], "a proxy before Anthropic");
    let router = json!({"prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 20}});
    assert_eq!(counts(router), [100, 9, 60, 20, 0], "OpenRouter");
    let xai = json!({"total_tokens": 203, "completion_tokens_details": {"reasoning_tokens": 94}});
    assert_eq!(counts(xai), [100, 103, 0, 0, 94], "xAI counts thoughts beside what was written");
    assert_eq!(counts(json!({"total_tokens": 203})), [100, 103, 0, 0, 94], "Google says only a total");
    let apart = json!({"total_tokens": 169, "cache_read_input_tokens": 60});
    assert_eq!(counts(apart), [100, 9, 60, 0, 0], "a cache beside the prompt is no thought");
}

#[test]
fn refusals_and_reasons_are_kept() {
    let refused = delta(json!({"refusal": "I can"})) + &delta(json!({"refusal": "not."})) + &ending("content_filter");
    let reply = reply(&refused);
    assert_eq!((reply.refusal.as_deref(), reply.finish_reason.as_deref()), (Some("I cannot."), Some("content_filter")));
    assert_eq!(reply.content.as_deref(), Some(""));
}

#[test]
fn an_error_in_the_middle_is_an_error() {
    let after = |error: Value| failure(&(delta(json!({"content": "Pi"})) + &event(&error) + "data: [DONE]\n\n"));
    assert_eq!(
        after(json!({"error": {"message": "overloaded", "code": 503}})),
        "the model \"m\" answered 503 (it is overloaded): overloaded"
    );
    assert_eq!(
        after(json!({"error": {"message": "slow down", "type": "rate_limit_error"}})),
        "the model \"m\" answered 429 (its limit is reached): slow down"
    );
    assert_eq!(
        after(json!({"error": {"message": "no", "code": "content_filter"}})),
        "the model \"m\" answered 400 (a filter refused it): no"
    );
    assert_eq!(after(json!({"error": "broken"})), "the model \"m\" answered with an error: broken");
    assert_eq!(
        after(json!({"choices": [{"error": {"message": "up", "code": "502"}}]})),
        "the model \"m\" answered 502: up"
    );
    assert_eq!(
        failure("event: error\ndata: {\"message\": \"gone\"}\n\n"),
        "the model \"m\" answered with an error: gone"
    );
    assert_eq!(failure("event: error\ndata: plain words\n\n"), "the model \"m\" answered with an error: plain words");
    assert_eq!(
        failure(&json!({"error": {"message": "bad", "code": 400}}).to_string()),
        "the model \"m\" answered 400: bad"
    );
}

#[test]
fn an_error_in_the_place_of_an_answer_is_an_error() {
    for (body, words) in [
        (json!({"object": "error", "message": "Input too long", "code": 400}), "answered 400: Input too long"),
        (
            json!({"code": "rate_limit_daily", "message": "No more today"}),
            "answered 429 (its limit is reached): No more today",
        ),
        (json!({"choices": null, "msg": "down", "status": 503}), "answered 503 (it is overloaded): down"),
        (
            json!({"choices": null, "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}),
            "answered with an error: insufficient balance",
        ),
    ] {
        assert_eq!(failure(&body.to_string()), format!("the model \"m\" {words}"));
        assert_eq!(failure(&event(&body)), format!("the model \"m\" {words}"));
    }
    let fine = json!({"base_resp": {"status_code": 0, "status_msg": ""}, "choices": [{"message": {"content": "Pi."}}]});
    assert_eq!(reply(&fine.to_string()).content.as_deref(), Some("Pi."));
}

#[test]
fn what_cannot_be_read_is_said() {
    let unreadable = |text: &str| match read_pieces([text.as_bytes()], false).0 {
        Err(words) => words.replace("the model \"m\" sent an answer that cannot be read: ", ""),
        Ok(reply) => panic!("{reply:?}"),
    };
    assert_eq!(unreadable(""), "it is empty");
    assert_eq!(unreadable(" \n"), "it is empty");
    assert!(unreadable("this is not json").starts_with("it is not JSON ("));
    assert!(unreadable("<html>Welcome</html>").contains("<html>Welcome"));
    assert!(unreadable("{\"choices\": [").starts_with("it is not JSON ("));
    assert!(unreadable("data: {\"choices\": [\n\n").starts_with("a piece is not JSON ("));
    for nothing in [
        "{}",
        "[]",
        "{\"choices\": []}",
        "{\"choices\": null}",
        "data: {}\n\ndata: [DONE]\n\n",
        "data: [DONE]\n\n",
        ": x\n\n",
    ] {
        let words = unreadable(nothing);
        let quoted = words.strip_prefix("it holds no choice").unwrap_or_else(|| panic!("{words}"));
        assert!(quoted.is_empty() || quoted == format!(": {nothing}"), "{words}");
    }
    assert_eq!(unreadable("{\"state\": \"busy\"}"), "it holds no choice: {\"state\": \"busy\"}");
    assert!(failure(&delta(json!({"content": "Pi"}))).contains("broke off"), "a stream that ends in its middle");
}

#[test]
fn nothing_grows_without_bound() {
    let endless = |piece: String| {
        let mut reader = AnswerReader::new("m", &ChatCompletionsApi, true);
        let mut count = 0;
        loop {
            count += piece.len();
            assert!(count < 3 * LONGEST_STREAM, "nothing stopped it");
            if let Err(error) = reader.feed(piece.as_bytes(), &mut |_| {}) {
                assert_eq!(error.to_string(), "the model \"m\" sent an answer that cannot be read: it is too long");
                return count;
            }
        }
    };
    let text = "x".repeat(100_000);
    assert!(endless(delta(json!({"content": text}))) < 2 * LONGEST_REPLY, "text");
    assert!(
        endless(delta(json!({"tool_calls": [{"index": 0, "function": {"arguments": text}}]}))) < 2 * LONGEST_REPLY,
        "arguments"
    );
    assert!(endless(text.clone()) < 2 * LONGEST_PIECE, "a line");
    assert!(endless(format!("data: {text}\n")) < 2 * LONGEST_PIECE, "an event");
    assert!(endless(format!(": {text}\n\n")) < 2 * LONGEST_STREAM, "comments");
    assert!(endless(format!("{{{text}")) < 2 * LONGEST_PIECE, "a text");
    let many: Vec<Value> = (0..1000).map(|index| json!({"index": index})).collect();
    assert!(failure(&delta(json!({"tool_calls": many}))).contains("too long"), "calls");
    let far =
        delta(json!({"tool_calls": [{"index": u64::MAX, "id": "a", "function": {"name": "f"}}]})) + &ending("stop");
    assert_eq!(calls(&reply(&far)), [("a", "f", "{}")], "an index is a name, not a size");
}

#[test]
fn any_cut_gives_the_same_reply() {
    let tools = delta(json!({"role": "assistant", "content": "Zürich 😀"}))
        + ": keep-alive\r\n\r\n"
        + &delta(json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{\"ü\":"}}]}))
            .replace('\n', "\r\n")
        + &delta(json!({"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]}))
        + &ending("tool_calls");
    for text in [saying(&["Grüße ", "", "😀"]), tools, whole(json!({"content": "Grüße 😀"}))] {
        let (reply, shown) = read(&text);
        assert!(reply.is_ok());
        for cut in 0..=text.len() {
            let (left, right) = text.as_bytes().split_at(cut);
            assert_eq!(read_pieces([left, right], true), (reply.clone(), shown.clone()), "cut at {cut}");
        }
        for size in 1..20 {
            assert_eq!(
                read_pieces(text.as_bytes().chunks(size), false),
                (reply.clone(), shown.clone()),
                "pieces of {size}"
            );
        }
        // Cut short anywhere it is an error or the same reply, and never a panic or a part that looks whole.
        for end in 0..text.len() {
            let (cut, _) = read_pieces([&text.as_bytes()[..end]], true);
            if let Ok(cut) = cut {
                assert_eq!(cut.content, reply.as_ref().unwrap().content, "ended at {end}");
                assert_eq!(cut.tool_calls, reply.as_ref().unwrap().tool_calls, "ended at {end}");
            }
        }
    }
}

#[test]
fn what_stands_around_an_answer_does_not_count_wherever_it_is_cut() {
    let late = "event: error\ndata: {\"error\": {\"message\": \"too late\"}}\n\n";
    for text in [format!(" \r\n\u{feff} {}", saying(&["Pi"])), saying(&["Pi"]) + late] {
        for cut in 0..text.len() {
            let (left, right) = text.as_bytes().split_at(cut);
            let (reply, shown) = read_pieces([left, right], true);
            assert_eq!(reply.unwrap().content.as_deref(), Some("Pi"), "cut at {cut}");
            assert_eq!(shown, ["Pi"], "cut at {cut}");
        }
    }
}

#[test]
fn noise_does_no_harm() {
    use rand::{RngExt, SeedableRng};
    let mut random = rand::rngs::StdRng::seed_from_u64(7);
    let text = saying(&["Pi ", "is ", "3.14."]);
    for _ in 0..5_000 {
        let mut bytes = text.clone().into_bytes();
        for _ in 0..random.random_range(1..6) {
            let place = random.random_range(0..bytes.len());
            bytes[place] = random.random();
        }
        let _ = read_pieces(bytes.chunks(random.random_range(1..50)), random.random());
    }
}

#[test]
fn an_empty_reason_is_no_end() {
    let piece = |text: &str, reason: &str| {
        event(&json!({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": reason}]}))
    };
    for none in ["", "null"] {
        let lost = piece("Three ", none) + &piece("sides", none);
        assert!(failure(&lost).contains("broke off before its end"), "{none:?}");
        let whole = lost + &piece(".", "stop");
        assert_eq!(reply(&whole).content.as_deref(), Some("Three sides."));
        assert_eq!(reply(&whole).finish_reason.as_deref(), Some("stop"));
        let done = piece("Pi.", none) + "data: [DONE]\n\n";
        assert_eq!(reply(&done).finish_reason, None);
        let mut reader = AnswerReader::new("m", &ChatCompletionsApi, true);
        reader.feed(piece("Three ", none).as_bytes(), &mut |_| {}).unwrap();
        assert!(!reader.is_complete());
    }
    let gave_up = failure(&(delta(json!({"content": "Three "})) + &ending("insufficient_system_resource")));
    assert!(gave_up.contains("answered with an error: the server gave up in the middle of its answer"), "{gave_up}");
}

#[test]
fn usage_comes_in_the_choice_in_pieces_and_in_parts() {
    let counted = |chunks: &[Value]| {
        let pieces: String = chunks.iter().map(event).collect();
        let usage = reply(&(delta(json!({"content": "x"})) + &pieces + &ending("stop"))).usage;
        (usage.prompt_tokens, usage.completion_tokens)
    };
    let piece = |text: &str, usage: Value| json!({"choices": [{"delta": {"content": text}}], "usage": usage});
    let in_choice = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop",
        "usage": {"prompt_tokens": 12, "completion_tokens": 3}}]});
    assert_eq!(counted(&[in_choice]), (12, 3), "Moonshot");
    let so_far = |tokens: u64| json!({"prompt_tokens": 9, "completion_tokens": tokens});
    assert_eq!(counted(&[piece("a", so_far(1)), piece("b", so_far(2)), piece("", so_far(2))]), (9, 2), "so far");
    assert_eq!(counted(&["one ", "two ", "three"].map(|text| piece(text, so_far(1)))), (9, 3), "of a piece");
    let parts = [json!({"usage": {"prompt_tokens": 9}}), json!({"usage": {"completion_tokens": 4}})];
    assert_eq!(counted(&parts), (9, 4), "in parts");
    assert_eq!(counted(&[json!({"usage": so_far(7)}), json!({"usage": {"completion_tokens": 0}})]), (9, 7));
}

#[test]
fn halves_of_letters_are_joined_or_replaced_wherever_they_are() {
    let raw = |content: &str| format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{content}\"}}}}]}}\n\n");
    let said = |pieces: &[&str]| {
        let text: String = pieces.iter().map(|piece| raw(piece)).collect();
        let (reply, shown) = read(&(text + &ending("stop")));
        let content = reply.unwrap().content.unwrap();
        assert!(content.starts_with(&shown.concat()), "{shown:?}");
        content
    };
    assert_eq!(said(&["Hi \\ud83d", "\\ude00!"]), "Hi 😀!");
    assert_eq!(said(&["\\ud83d", "", "\\uDE00"]), "😀");
    assert_eq!(said(&["Hi \\ud83d", "there"]), "Hi \u{fffd}there");
    assert_eq!(said(&["Hi \\ud83d"]), "Hi \u{fffd}");
    assert_eq!(said(&["\\ude00", "\\ud83d\\ude00"]), "\u{fffd}😀");
    // The letters that stand for halves meanwhile are letters where nothing is halved.
    assert_eq!(said(&["\u{10F83D}", "\u{10FA00}"]), "\u{10F83D}\u{10FA00}");

    let call = |arguments: &str| {
        let function = format!("{{\"name\":\"f\",\"arguments\":\"{arguments}\"}}");
        format!(
            "data: {{\"choices\":[{{\"delta\":{{\"tool_calls\":[{{\"index\":0,\"function\":{function}}}]}}}}]}}\n\n"
        )
    };
    let arguments = |pieces: &[&str]| {
        let text: String = pieces.iter().map(|piece| call(piece)).collect();
        reply(&(text + &ending("tool_calls"))).tool_calls.remove(0).function.arguments
    };
    assert_eq!(arguments(&["{\\\"q\\\": \\\"\\ud83d", "\\ude00\\\"}"]), "{\"q\": \"😀\"}");
    assert_eq!(arguments(&["{\\\"q\\\": \\\"\\\\ud83d\\\"}"]), "{\"q\": \"\\ufffd\"}", "an escape in the arguments");
    assert_eq!(
        arguments(&["{\\\"q\\\": \\\"\\\\ud83d\\\\ude00\\\"}"]),
        "{\"q\": \"\\ud83d\\ude00\"}",
        "a letter is right"
    );

    let whole = "{\"choices\":[{\"message\":{\"content\":\"a \\ud83d b\",\"refusal\":\"\\ud83d\"},\"finish_reason\":\"stop\"}]}";
    let whole = reply(whole);
    assert_eq!((whole.content.as_deref(), whole.refusal.as_deref()), (Some("a \u{fffd} b"), Some("\u{fffd}")));
    let error = failure("data: {\"error\": {\"message\": \"no \\ud83d\", \"code\": 503}}\n\n");
    assert!(error.ends_with(": no \u{fffd}"), "{error}");
}
