//! The order of text and tool calls within the output of one push.

use super::{FinishReason, ParsedDelta, ParsedPart, output_parser, parse, request};

const CALLS: &str = "Hm. <tool_call>{\"name\": \"f\", \"arguments\": {\"x\": 1}}</tool_call> Then <tool_call>{\"name\": \"g\"}</tool_call> done.";

/// The output of an answer that arrives in two parts, as text and names of calls in their order.
fn order(answer: &str, cut: usize) -> Vec<String> {
    let mut parser = output_parser("hermes").streaming(&request());
    let mut parts: Vec<ParsedPart> = Vec::new();
    for part in [&answer[..cut], &answer[cut..]] {
        parts.extend(parser.push(part));
    }
    parts.extend(parser.finish(FinishReason::Stop).0);
    let mut order: Vec<String> = Vec::new();
    for ParsedPart { text, calls, .. } in parts {
        match order.last_mut().filter(|last| !last.starts_with('@')) {
            Some(last) => last.push_str(&text),
            None => order.push(text),
        }
        for call in calls {
            order.extend(call.named.map(|(_, name)| format!("@{name}")));
            order.extend(call.is_complete.then(|| "@complete".to_owned()));
            order.extend(call.is_withdrawn.then(|| "@withdrawn".to_owned()));
        }
    }
    order.retain(|item| !item.is_empty());
    order
}

#[test]
fn a_new_part_begins_where_text_follows_a_call() {
    let ParsedDelta { before, last } = output_parser("hermes").streaming(&request()).push(CALLS);
    let parts: Vec<_> = before.iter().chain([&last]).map(|part| (part.text.as_str(), part.calls.len())).collect();
    assert_eq!(parts, [("Hm.", 1), (" Then", 1), (" done.", 0)]);
}

#[test]
fn calls_that_follow_each_other_are_in_one_part() {
    let answer = "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {}}, {\"name\": \"g\", \"arguments\": {}}]";
    let ParsedDelta { before, last } = output_parser("mistral").streaming(&request()).push(answer);
    let indices: Vec<_> = last.calls.iter().map(|call| (call.index, call.is_complete)).collect();
    assert_eq!((before.len(), indices), (0, vec![(0, true), (1, true)]));
}

#[test]
fn the_order_does_not_depend_on_the_cut() {
    let expected = ["Hm.", "@f", "@complete", " Then", "@g", "@complete", " done."];
    for (cut, _) in CALLS.char_indices() {
        assert_eq!(order(CALLS, cut), expected, "cut at {cut}");
    }
}

#[test]
fn the_text_of_a_withdrawn_call_follows_its_withdrawal() {
    let answer = "Hm. <tool_call>{\"name\": \"f\", \"arguments\": {\"x\": oops}}</tool_call>";
    for (cut, _) in answer.char_indices() {
        let order = order(answer, cut);
        assert_eq!(order[1..3], ["@f", "@withdrawn"], "cut at {cut}");
        assert_eq!(format!("{}{}", order[0], order[3]), answer, "cut at {cut}");
    }
}

#[test]
fn a_call_of_the_whole_output_has_its_place_in_the_text() {
    let parsed = parse("hermes", CALLS);
    let before: Vec<_> = parsed.calls.iter().map(|call| &parsed.text[..call.text_before]).collect();
    assert_eq!((parsed.text.as_str(), before), ("Hm. Then done.", vec!["Hm.", "Hm. Then"]));
}
