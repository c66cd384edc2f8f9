//! The whole experiment, with the binary just built.

use std::process::Stdio;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::report::Outcome;
use crate::tools;

/// Runs `dirigo lab run --json` with these options and judges its answer.
pub fn run(options: &[&str]) -> Result<Outcome> {
    tools::run(tools::cargo().args(["build", "--quiet", "--locked", "--bin", "dirigo"]))?;
    let done = tools::as_root(tools::target_dir().join("debug/dirigo"))
        .args(["lab", "run", "--json"])
        .args(options)
        .current_dir(tools::root())
        .stderr(Stdio::inherit())
        .output()
        .context("starting the lab")?;
    let answer: Value = serde_json::from_slice(&done.stdout)
        .with_context(|| format!("the lab ended with {} and printed no JSON", done.status))?;
    let seen = judge(&answer);
    Ok(match (done.status.success(), seen) {
        (true, Ok(seen)) => Outcome::Passed(seen),
        (_, Err(wrong)) => {
            println!("{answer:#}");
            Outcome::Failed(wrong)
        }
        (false, Ok(_)) => Outcome::Failed(format!("it says ok, but ended with {}", done.status)),
    })
}

/// What the answer shows, or what is wrong with it.
pub fn judge(answer: &Value) -> Result<String, String> {
    let mode = answer["mode"].as_str().unwrap_or("no");
    let hops = answer["hops"].as_array().map_or(0, Vec::len);
    if answer["ok"] != Value::Bool(true) {
        return Err(format!("`ok` is {}", answer["ok"]));
    }
    if mode != "native" {
        return Err(format!("the program ran in {mode} mode instead of native"));
    }
    if hops != 3 || answer["reply_frames_via_director"] != 0 {
        return Err(format!(
            "{hops} hops were shown instead of 3, {} reply frames passed the director",
            answer["reply_frames_via_director"]
        ));
    }
    Ok(format!(
        "ok, {mode} mode, three hops, no reply through the director"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn good() -> Value {
        json!({"ok": true, "mode": "native", "hops": [{}, {}, {}], "reply_frames_via_director": 0})
    }

    #[test]
    fn a_lab_that_says_ok_in_native_mode_passes() {
        assert!(judge(&good()).is_ok());
    }

    #[test]
    fn a_lab_fails_when_any_part_of_its_answer_is_wrong() {
        for (key, value) in [
            ("ok", json!(false)),
            ("mode", json!("generic")),
            ("hops", json!([])),
            ("reply_frames_via_director", json!(3)),
        ] {
            let mut answer = good();
            answer[key] = value;
            assert!(judge(&answer).is_err(), "{key}");
        }
    }
}
