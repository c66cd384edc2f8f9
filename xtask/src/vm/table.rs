//! The result, as the table that stands in `docs/vm.md`.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::guest::Answer;
use crate::test::lab;

/// Marks around the table in the document.
const BEGIN: &str = "<!-- result: written by `cargo xtask vm --record` -->\n";
const END: &str = "<!-- end of result -->\n";

/// What one kernel showed.
pub struct Row {
    series: String,
    release: String,
    verifier: Result<String, String>,
    labs: Vec<Result<String, String>>,
}

impl Row {
    /// Reads a kernel's answers.
    pub fn of(series: &str, answers: &[Answer]) -> Self {
        let answer = |task: &str| answers.iter().find(|answer| answer.task == task);
        Self {
            series: series.to_owned(),
            release: answer("uname")
                .map_or("?", |answer| answer.output.trim())
                .to_owned(),
            verifier: answer("load").map_or(Err("not asked".into()), verifier),
            labs: answers
                .iter()
                .filter(|answer| answer.task.starts_with("lab"))
                .map(judge)
                .collect(),
        }
    }

    /// Whether it booted and every lab showed what it should.
    pub fn is_ok(&self) -> bool {
        // With the dot: 6.12 is not a 6.1.
        let booted = self.release.starts_with(&format!("{}.", self.series));
        booted && self.verifier.is_ok() && self.labs.iter().all(Result::is_ok)
    }
}

/// `director: 5490 instructions, the verifier saw 521801`.
fn verifier(answer: &Answer) -> Result<String, String> {
    match answer.code {
        0 => Ok(answer.output.trim().replace('\n', "<br>")),
        code => Err(format!("`load` ended with {code}")),
    }
}

fn judge(answer: &Answer) -> Result<String, String> {
    if answer.output.trim().is_empty() {
        return Err(format!("ended with {}, see the talk above", answer.code));
    }
    let seen = serde_json::from_str(&answer.output).map_err(|error| format!("no JSON: {error}"))?;
    let seen = lab::judge(&seen)?;
    match answer.code {
        0 => Ok(seen),
        code => Err(format!("ended with {code}")),
    }
}

/// The rows as a Markdown table.
pub fn render(rows: &[Row]) -> String {
    let mut table =
        String::from("| kernel | verifier | lab, IPv4 | lab, IPv6 |\n| --- | --- | --- | --- |\n");
    for row in rows {
        let cell = |found: Option<&Result<String, String>>| match found {
            Some(Ok(seen)) => seen.clone(),
            Some(Err(wrong)) => format!("**failed**: {wrong}"),
            None => "not run".to_owned(),
        };
        let cells = [Some(&row.verifier), row.labs.first(), row.labs.get(1)].map(cell);
        table.push_str(&format!("| {} | {} |\n", row.release, cells.join(" | ")));
    }
    table
}

/// Replaces the table in the document.
pub fn record(document: &Path, table: &str) -> Result<()> {
    record_between(document, BEGIN, END, table)
}

/// Replaces what stands between two lines of the document.
pub fn record_between(document: &Path, begin: &str, end: &str, table: &str) -> Result<()> {
    let text = std::fs::read_to_string(document)
        .with_context(|| format!("reading {}", document.display()))?;
    let text =
        replaced(&text, begin, end, table).with_context(|| format!("in {}", document.display()))?;
    std::fs::write(document, text).with_context(|| format!("writing {}", document.display()))
}

fn replaced(text: &str, begin: &str, end: &str, table: &str) -> Result<String> {
    let Some((before, rest)) = text.split_once(begin) else {
        bail!("the line {:?} is missing", begin.trim());
    };
    let Some((_, after)) = rest.split_once(end) else {
        bail!("the line {:?} is missing", end.trim());
    };
    Ok(format!("{before}{begin}\n{table}\n{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(task: &str, output: &str, code: i32) -> Answer {
        Answer {
            task: task.into(),
            output: output.into(),
            talk: String::new(),
            code,
        }
    }

    #[test]
    fn a_kernel_is_ok_only_when_the_object_loads_and_both_labs_say_so() {
        let good = r#"{"ok":true,"mode":"native","hops":[1,2,3],"reply_frames_via_director":0}"#;
        let row = |series: &str, load: Answer, second: Answer| {
            let uname = answer("uname", "6.1.0-5\n", 0);
            Row::of(series, &[uname, load, answer("lab v4", good, 0), second])
        };
        let loads = || answer("load", "director: 9 instructions\n", 0);
        let ok = || answer("lab v6", good, 0);

        assert!(row("6.1", loads(), ok()).is_ok());
        assert!(!row("6.12", loads(), ok()).is_ok());
        assert!(!row("6.1", answer("load", "", 1), ok()).is_ok());
        assert!(!row("6.1", loads(), answer("lab v6", good, 1)).is_ok());
        assert!(!row("6.1", loads(), answer("lab v6", r#"{"ok":false}"#, 1)).is_ok());
        assert!(!row("6.1", loads(), answer("lab v6", "", -1)).is_ok());
    }

    #[test]
    fn recording_replaces_the_old_table_and_nothing_else() {
        let text = format!("# Before\n\n{BEGIN}old\n{END}\nAfter\n");
        let then = format!("# Before\n\n{BEGIN}\nnew\n\n{END}\nAfter\n");
        assert_eq!(replaced(&text, BEGIN, END, "new\n").unwrap(), then);
        assert!(replaced("no marks", BEGIN, END, "new\n").is_err());
    }
}
