//! Fixtures of `tests/fixtures/cli-output`, written by the formats that the parsers name; those of `claude` are recorded.

use std::{fs, os::unix::process::ExitStatusExt as _, process::ExitStatus};

use serde_json::Value;

use super::{conversation::Total, reader::Reader};
use crate::{
    domain::{
        agent::ResultFrom,
        run::{Failure, FailureCode, MessageKind, RunResult, Usage},
    },
    executor::{lines::Lines, mask::Mask},
};

/// What a CLI's output came to.
struct Read {
    lines: Vec<(MessageKind, Value)>,
    conversation: Option<(String, Total)>,
    usage: Usage,
    result: Result<RunResult, Failure>,
}

impl Read {
    fn kinds(&self) -> Vec<&'static str> {
        self.lines.iter().map(|(kind, _)| kind.as_str()).collect()
    }

    fn code(&self) -> FailureCode {
        self.result.as_ref().unwrap_err().code
    }
}

fn read(from: ResultFrom, output: &[u8], exit_code: i32, said: &str) -> Read {
    read_after(from, Total::default(), output, ExitStatus::from_raw(exit_code << 8), said)
}

fn read_after(from: ResultFrom, total: Total, output: &[u8], status: ExitStatus, said: &str) -> Read {
    let (mask, mut reader, mut cut) = (Mask::empty(), Reader::new(from, total), Lines::default());
    let mut lines = Vec::new();
    let mut pieces = cut.push(output);
    pieces.extend(cut.finish());
    pieces.iter().for_each(|line| lines.extend(reader.push(line, &mask)));
    lines.extend(reader.finish(&mask));
    let conversation = reader.conversation().map(|conversation| (conversation.id, conversation.total));
    Read { lines, conversation, usage: reader.usage(), result: reader.result(status, said, &mask) }
}

fn fixture(name: &str) -> Vec<u8> {
    fs::read(format!("{}/tests/fixtures/cli-output/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[test]
fn codex_says_what_it_did_and_counts_its_thread() {
    let heard = read(ResultFrom::Codex, &fixture("codex-success.jsonl"), 0, "");
    let expected = [
        "thinking",
        "tool_call",
        "tool_result",
        "status",
        "tool_call",
        "tool_result",
        "tool_call",
        "tool_result",
        "status",
        "text",
    ];
    assert_eq!(heard.kinds(), expected);
    assert_eq!(heard.lines[1].1["input"]["command"], "bash -lc 'cat order.txt'");
    assert_eq!(heard.lines[2].1["content"], "order 17: shipped\n");
    assert_eq!(heard.lines[4].1["name"], "mcp__orders__find");
    assert_eq!((&heard.lines[5].1["is_error"], &heard.lines[5].1["content"]), (&true.into(), &"no such order".into()));
    assert_eq!(heard.result.as_ref().unwrap().text, "Order 17 is on its way.");
    assert_eq!(
        (heard.usage.input_tokens, heard.usage.cache_read_tokens, heard.usage.output_tokens),
        (315, 24_448, 122)
    );
    let (id, total) = heard.conversation.unwrap();
    assert_eq!((id.as_str(), total.input), ("0199a213-81c0-7800-8aa1-bbab2a035a53", 24_763));
    let again = read_after(ResultFrom::Codex, total, &fixture("codex-success.jsonl"), ExitStatus::default(), "");
    assert_eq!(
        (again.usage.input_tokens, again.usage.output_tokens),
        (0, 0),
        "the thread's tokens were counted before"
    );
}

#[test]
fn codex_failures_have_codes_whatever_the_exit_code_is() {
    let limit = read(ResultFrom::Codex, &fixture("codex-limit.jsonl"), 0, "");
    let failure = limit.result.unwrap_err();
    assert_eq!((failure.code, failure.retry_after_ms), (FailureCode::RateLimit, Some(10_920_000)));
    assert_eq!(limit.conversation, None, "the thread does not hold the prompt");
    assert_eq!(read(ResultFrom::Codex, &fixture("codex-auth.jsonl"), 1, "").code(), FailureCode::ModelAuth);
}

#[test]
fn gemini_streams_words_in_pieces() {
    let heard = read(ResultFrom::Gemini, &fixture("gemini-stream.jsonl"), 0, "");
    assert_eq!(heard.kinds(), ["status", "text", "tool_call", "tool_result", "status", "text"]);
    assert_eq!(heard.lines[1].1["text"], "I will look.");
    assert_eq!(heard.lines[3].1["content"], "File not found: /workspace/order.txt");
    assert_eq!(heard.result.as_ref().unwrap().text, "Order 17 is unknown.");
    assert_eq!((heard.usage.input_tokens, heard.usage.cache_read_tokens, heard.usage.output_tokens), (1_000, 150, 40));
    assert_eq!(heard.result.unwrap().resume_id.as_deref(), Some("b1c7a5d2-4e0f-4d3a-9a57-2f1f6b7d9c10"));
}

#[test]
fn gemini_tells_all_in_one_object_too() {
    let heard = read(ResultFrom::Gemini, &fixture("gemini.json"), 0, "");
    assert_eq!(heard.kinds(), ["stderr", "status", "text"]);
    assert_eq!(heard.result.as_ref().unwrap().text, "Order 17 is\non its way.");
    assert_eq!(
        (heard.usage.input_tokens, heard.usage.cache_read_tokens, heard.usage.output_tokens),
        (3_676, 21_263, 174)
    );
    let failure = read(ResultFrom::Gemini, &fixture("gemini-error.json"), 1, "").result.unwrap_err();
    assert_eq!((failure.code, failure.retry_after_ms), (FailureCode::RateLimit, Some(36_500)));
}

#[test]
fn gemini_fails_by_its_errors_and_by_its_exit_codes() {
    assert_eq!(read(ResultFrom::Gemini, &fixture("gemini-turns.jsonl"), 0, "").code(), FailureCode::MaxTurns);
    for (exit_code, said, expected) in [
        (41, "", FailureCode::ModelAuth),
        (52, "", FailureCode::Setup),
        (53, "", FailureCode::MaxTurns),
        (1, "[API Error: 429 RESOURCE_EXHAUSTED]", FailureCode::RateLimit),
        (1, "TypeError: x", FailureCode::Agent),
        (0, "", FailureCode::Executor),
    ] {
        assert_eq!(read(ResultFrom::Gemini, b"", exit_code, said).code(), expected, "{exit_code} {said}");
    }
}

#[test]
fn opencode_recovers_and_its_steps_add_up() {
    let heard = read(ResultFrom::Opencode, &fixture("opencode-success.jsonl"), 1, "");
    assert_eq!(heard.kinds(), ["thinking", "tool_call", "tool_result", "text", "text", "status"]);
    assert_eq!(heard.result.as_ref().unwrap().text, "Order 17 is on its way.\n\nIt comes tomorrow.");
    let expected = Usage {
        turns: 2,
        input_tokens: 11_287,
        output_tokens: 180,
        cache_read_tokens: 11_000,
        cache_write_tokens: 12,
        cost_micros: 8_015,
    };
    assert_eq!(heard.usage, expected);
    assert_eq!(heard.conversation.unwrap().0, "ses_494719016ffe85dkDMj0FPRbHK");
}

#[test]
fn opencode_failures_are_found_behind_exit_code_0() {
    let failure = read(ResultFrom::Opencode, &fixture("opencode-limit.jsonl"), 0, "").result.unwrap_err();
    assert_eq!((failure.code, failure.retry_after_ms), (FailureCode::RateLimit, Some(20_000)));
    assert_eq!(read(ResultFrom::Opencode, &fixture("opencode-auth.jsonl"), 0, "").code(), FailureCode::ModelAuth);
    let nothing = read(ResultFrom::Opencode, b"", 0, "NotFoundError: Session not found: ses_x");
    assert_eq!(nothing.code(), FailureCode::Executor);
}

#[test]
fn claude_is_read_as_our_own_executor_reads_it() {
    let heard = read(ResultFrom::Claude, &fixture("claude-success.jsonl"), 0, "");
    let calls = heard.kinds().iter().filter(|kind| **kind == "tool_call").count();
    let results = heard.kinds().iter().filter(|kind| **kind == "tool_result").count();
    assert_eq!((calls, results), (3, 3), "{:?}", heard.kinds());
    assert_eq!((heard.usage.turns, heard.usage.input_tokens, heard.usage.cost_micros), (4, 400, 2_400));
    let result = heard.result.unwrap();
    assert_eq!(result.text, "All done.");
    assert_eq!(result.resume_id.as_deref(), Some("7fbf4619-d068-44db-800f-86b5d188d27f"));
    assert_eq!(read(ResultFrom::Claude, &fixture("claude-auth.jsonl"), 0, "").code(), FailureCode::ModelAuth);
}

#[test]
fn what_is_no_event_is_kept_and_breaks_nothing() {
    let odd = b"warming up\n{\"type\":\"from.the.future\",\"n\":[1]}\n{\"type\":\n[1]\n\"x\"\n{\"type\":7}\n\x1b[31mred\x1b[0m\n\xff\xfe\n";
    for from in [ResultFrom::Claude, ResultFrom::Codex, ResultFrom::Gemini, ResultFrom::Opencode] {
        let heard = read(from, odd, 0, "");
        assert_eq!(heard.code(), FailureCode::Executor, "{from:?}");
        let future = heard.lines.iter().find(|(_, body)| body["event"]["n"][0] == 1);
        assert!(matches!(future, Some((MessageKind::Status, _))), "{from:?}: {:?}", heard.lines);
        assert!(heard.lines.contains(&(MessageKind::Stderr, serde_json::json!({"text": "warming up"}))), "{from:?}");
    }
}

#[test]
fn a_line_may_be_long_and_is_not_read_for_ever() {
    let event = |size: usize| {
        let text = "x".repeat(size);
        format!(
            "{{\"type\":\"item.completed\",\"item\":{{\"id\":\"1\",\"type\":\"agent_message\",\"text\":\"{text}\"}}}}\n{{\"type\":\"turn.completed\"}}\n"
        )
    };
    let long = read(ResultFrom::Codex, event(1_000_000).as_bytes(), 0, "");
    assert_eq!(long.result.unwrap().text.len(), 1_000_000);
    let too_long = read(ResultFrom::Codex, event(5_000_000).as_bytes(), 0, "");
    assert_eq!(too_long.kinds(), ["status"]);
    assert_eq!(too_long.result.unwrap().text, "");
}

#[test]
fn counts_are_believed_within_bounds() {
    let most = 1 << 40;
    let usage = |input: &str, cost: &str| {
        [
            (
                ResultFrom::Claude,
                format!(
                    "{{\"type\":\"result\",\"subtype\":\"success\",\"num_turns\":{input},\"usage\":{{\"input_tokens\":{input}}},\"total_cost_usd\":{cost}}}"
                ),
            ),
            (
                ResultFrom::Claude,
                format!(
                    "{{\"type\":\"result\",\"subtype\":\"success\",\"num_turns\":{input},\"model_usage_since_last_result\":{{\"m\":{{\"inputTokens\":{input},\"costUSD\":{cost}}}}}}}"
                ),
            ),
            (ResultFrom::Codex, format!("{{\"type\":\"turn.completed\",\"usage\":{{\"input_tokens\":{input}}}}}")),
            (ResultFrom::Gemini, format!("{{\"type\":\"result\",\"stats\":{{\"input_tokens\":{input}}}}}")),
            (
                ResultFrom::Opencode,
                format!("{{\"type\":\"step_finish\",\"part\":{{\"tokens\":{{\"input\":{input}}},\"cost\":{cost}}}}}"),
            ),
        ]
    };
    for (from, line) in usage("9223372036854775807", "1e300") {
        let took = read(from, line.as_bytes(), 0, "").usage;
        assert_eq!(took.input_tokens, most, "{line}");
        assert!(took.cost_micros == most || took.cost_micros == 0, "{line}: {took:?}");
        assert!(took.turns <= most, "{line}: {took:?}");
    }
    for (from, line) in usage("-5", "-0.5") {
        let took = read(from, line.as_bytes(), 0, "").usage;
        assert_eq!((took.input_tokens, took.cost_micros), (0, 0), "{line}");
        assert!(took.turns >= 0, "{line}: {took:?}");
    }
    let before = Total { input: i64::MIN, cached: i64::MIN, output: i64::MIN };
    let line = b"{\"type\":\"turn.completed\",\"usage\":{\"input_tokens\":7,\"output_tokens\":7}}\n";
    read_after(ResultFrom::Codex, before, line, ExitStatus::default(), "");
}

#[test]
fn the_answer_of_a_step_stays_small_however_much_is_said() {
    let said = format!("{{\"type\":\"text\",\"part\":{{\"text\":\"{}\"}}}}\n", "x".repeat(300_000));
    let end = "{\"type\":\"step_finish\",\"part\":{\"reason\":\"stop\"}}\n";
    let output = "{\"type\":\"step_start\"}\n".to_owned() + &said.repeat(5) + end;
    let heard = read(ResultFrom::Opencode, output.as_bytes(), 0, "");
    let left_out = 5 * 300_000 + 4 * 2 - (1 << 20);
    let text = heard.result.unwrap().text;
    assert!(text.ends_with(&format!("x\n[{left_out} more bytes are left out]")), "{}", &text[text.len() - 60..]);
    assert!(text.len() < (1 << 20) + 100);
    // A step without words leaves the answer of the one before.
    let output = "{\"type\":\"step_start\"}\n{\"type\":\"text\",\"part\":{\"text\":\"a\"}}\n{\"type\":\"text\",\"part\":{\"text\":\"b\"}}\n{\"type\":\"step_start\"}\n".to_owned() + end;
    assert_eq!(read(ResultFrom::Opencode, output.as_bytes(), 0, "").result.unwrap().text, "a\n\nb");
}

#[test]
fn lines_of_an_object_that_is_none_are_in_the_record() {
    let told = |output: &str| {
        let heard = read(ResultFrom::Gemini, output.as_bytes(), 0, "");
        let texts = heard.lines.iter().filter(|(kind, _)| *kind == MessageKind::Stderr);
        texts.map(|(_, body)| body["text"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(told("{\nno object\n  at all\n"), "{\nno object\n  at all", "it is cut off");
    assert_eq!(told("{\n  oops: 1\n}\nafter it\n"), "{\n  oops: 1\n}\nafter it", "it cannot be read");
    let long = format!("{{\n{}", "x\n".repeat(2_200_000));
    assert_eq!(told(&long).matches('x').count(), 2_200_000, "it is too long");
}
