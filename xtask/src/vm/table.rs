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
    labs: Vec<Result<String, String>>,
}

impl Row {
    /// Reads a kernel's answers.
    pub fn of(series: &str, answers: &[Answer]) -> Self {
        let release = answers.iter().find(|answer| answer.task == "uname");
        Self {
            series: series.to_owned(),
            release: release
                .map_or("?", |answer| answer.output.trim())
                .to_owned(),
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
        booted && self.labs.iter().all(Result::is_ok)
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
    let mut table = String::from("| kernel | lab, IPv4 | lab, IPv6 |\n| --- | --- | --- |\n");
    for row in rows {
        let lab = |at: usize| match row.labs.get(at) {
            Some(Ok(seen)) => seen.clone(),
            Some(Err(wrong)) => format!("**failed**: {wrong}"),
            None => "not run".to_owned(),
        };
        table.push_str(&format!("| {} | {} | {} |\n", row.release, lab(0), lab(1)));
    }
    table
}

/// Replaces the table in the document.
pub fn record(document: &Path, table: &str) -> Result<()> {
    let text = std::fs::read_to_string(document)
        .with_context(|| format!("reading {}", document.display()))?;
    let text = replaced(&text, table).with_context(|| format!("in {}", document.display()))?;
    std::fs::write(document, text).with_context(|| format!("writing {}", document.display()))
}

fn replaced(text: &str, table: &str) -> Result<String> {
    let Some((before, rest)) = text.split_once(BEGIN) else {
        bail!("the line {:?} is missing", BEGIN.trim());
    };
    let Some((_, after)) = rest.split_once(END) else {
        bail!("the line {:?} is missing", END.trim());
    };
    Ok(format!("{before}{BEGIN}\n{table}\n{END}{after}"))
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
    fn a_kernel_is_ok_only_when_both_labs_say_so() {
        let good = r#"{"ok":true,"mode":"native","hops":[1,2,3],"reply_frames_via_director":0}"#;
        let row = |second: Answer| {
            Row::of(
                "6.1",
                &[
                    answer("uname", "6.1.0-5\n", 0),
                    answer("lab v4", good, 0),
                    second,
                ],
            )
        };
        assert!(row(answer("lab v6", good, 0)).is_ok());
        assert!(!row(answer("lab v6", good, 1)).is_ok());
        assert!(!row(answer("lab v6", r#"{"ok":false}"#, 1)).is_ok());
        assert!(!row(answer("lab v6", "", -1)).is_ok());
        assert!(!Row::of("6.1", &[answer("uname", "6.12.9\n", 0)]).is_ok());
    }

    #[test]
    fn recording_replaces_the_old_table_and_nothing_else() {
        let text = format!("# Before\n\n{BEGIN}old\n{END}\nAfter\n");
        let then = format!("# Before\n\n{BEGIN}\nnew\n\n{END}\nAfter\n");
        assert_eq!(replaced(&text, "new\n").unwrap(), then);
        assert!(replaced("no marks", "new\n").is_err());
    }
}
