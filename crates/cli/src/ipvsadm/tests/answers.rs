//! More lines, asked of the real ipvsadm: one by one, mostly wrong ones, and odd ones it takes; and one after another,
//! drawn at random from all commands, options and values.

use super::*;

#[derive(serde::Deserialize)]
struct Answer {
    words: Vec<String>,
    input: String,
    code: u8,
    out: String,
    err: String,
    after: String,
}

fn answers() -> Vec<Answer> {
    serde_json::from_str(&golden("answers.json").unwrap()).unwrap()
}

#[test]
fn every_line_is_answered_like_the_original_or_by_not_supported_yet_where_that_succeeds() {
    let (mut unsupported, mut wrong) = (0, String::new());
    for answer in answers() {
        let mut table = one_service();
        let before = run(&mut table, &["-Sn"], "").out;
        let ours = run_bytes(&mut table, &answer.words, answer.input.as_bytes());
        let after = run(&mut table, &["-Sn"], "").out;
        let line = format!("{:?} {:?}", answer.words, answer.input);
        if ours.err.ends_with("not supported by Dirigo yet\n") {
            // Done, or refused by the kernel: not a line whose words alone are wrong.
            assert!(
                [0, 255].contains(&answer.code),
                "{line}: the original refuses this for another reason"
            );
            assert_eq!(ours.code, 255, "{line}");
            assert_eq!(after, before, "{line}");
            unsupported += 1;
            continue;
        }
        let theirs = Outcome {
            code: answer.code,
            out: answer.out,
            err: answer.err,
        };
        if (&ours, &after) != (&theirs, &answer.after) {
            wrong += &format!(
                "{line}\n  ours {ours:?} {after:?}\n  theirs {theirs:?} {:?}\n",
                answer.after
            );
        }
    }
    assert!(
        wrong.is_empty(),
        "ours, theirs, and the table after:\n{wrong}"
    );
    assert_eq!(
        unsupported, UNSUPPORTED,
        "what is not supported has changed"
    );
}

/// How many of the lines use what Dirigo cannot do yet.
const UNSUPPORTED: usize = 1;

#[derive(serde::Deserialize)]
struct Step {
    words: Vec<String>,
    code: u8,
    out: String,
    err: String,
    /// What `-Sn` said after it; nothing after `-C`, with which a history begins.
    after: Option<String>,
}

#[test]
fn random_histories_are_answered_like_the_original_and_leave_the_same_table() {
    // One after another: a timeout that was set outlives `-C`.
    let (mut table, mut history) = (Table::default(), Vec::new());
    for line in golden("histories.jsonl").unwrap().lines() {
        let step: Step = serde_json::from_str(line).unwrap();
        if step.after.is_none() {
            history.clear();
        }
        history.push(step.words.join(" "));
        let ours = run_bytes(&mut table, &step.words, b"");
        let theirs = Outcome {
            code: step.code,
            out: step.out,
            err: step.err,
        };
        assert_eq!(ours, theirs, "{history:#?}");
        if let Some(after) = step.after {
            let ours = run(&mut table, &["-Sn"], "").out;
            assert_eq!(ours, after, "{history:#?}");
        }
    }
}
