//! Two texts as people compare them: `diff -u`.

use std::fmt::Write as _;

/// Lines around a difference.
const CONTEXT: usize = 3;

/// The difference between two texts of a file.
pub(super) fn unified(name: &str, old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let steps = steps(&old, &new);
    let mut text = format!("--- {name}\n+++ {name} (saved)\n");
    let is_near = |at: usize| {
        let from = at.saturating_sub(CONTEXT);
        let to = (at + CONTEXT + 1).min(steps.len());
        steps[from..to]
            .iter()
            .any(|step| !matches!(step, Step::Same(..)))
    };
    let mut at = 0;
    while at < steps.len() {
        if !is_near(at) {
            at += 1;
            continue;
        }
        let end = (at..steps.len())
            .find(|at| !is_near(*at))
            .unwrap_or(steps.len());
        hunk(&mut text, &steps[at..end]);
        at = end;
    }
    text
}

/// A line, and its number in the texts that it is in, from 0.
#[derive(Clone, Copy)]
enum Step<'a> {
    Same(&'a str, usize, usize),
    Gone(&'a str, usize, usize),
    New(&'a str, usize, usize),
}

fn hunk(text: &mut String, steps: &[Step<'_>]) {
    let Some(Step::Same(_, old, new) | Step::Gone(_, old, new) | Step::New(_, old, new)) =
        steps.first().copied()
    else {
        return;
    };
    let count = |is: fn(&Step<'_>) -> bool| steps.iter().filter(|step| is(step)).count();
    let olds = count(|step| !matches!(step, Step::New(..)));
    let news = count(|step| !matches!(step, Step::Gone(..)));
    let _never_fails = writeln!(text, "@@ -{},{olds} +{},{news} @@", old + 1, new + 1);
    for step in steps {
        let (sign, line) = match step {
            Step::Same(line, ..) => (' ', line),
            Step::Gone(line, ..) => ('-', line),
            Step::New(line, ..) => ('+', line),
        };
        let _never_fails = writeln!(text, "{sign}{line}");
    }
}

/// From one text to the other: the same beginning and end aside, by the longest common subsequence; too much
/// for that is one piece gone and one new.
fn steps<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Step<'a>> {
    let begin = old
        .iter()
        .zip(new)
        .take_while(|(one, other)| one == other)
        .count();
    let (a, b) = (&old[begin..], &new[begin..]);
    let tail = a.iter().rev().zip(b.iter().rev());
    let end = tail.take_while(|(one, other)| one == other).count();
    let (a, b) = (&a[..a.len() - end], &b[..b.len() - end]);
    let mut all: Vec<Step<'a>> = (0..begin).map(|at| Step::Same(old[at], at, at)).collect();
    let lengths = lengths(a, b);
    let (mut i, mut j) = (0, 0);
    while i < a.len() || j < b.len() {
        let (own, other) = (begin + i, begin + j);
        let length = |i: usize, j: usize| {
            lengths
                .get(i)
                .and_then(|row| row.get(j))
                .copied()
                .unwrap_or(0)
        };
        if i < a.len() && j < b.len() && a[i] == b[j] {
            all.push(Step::Same(a[i], own, other));
            (i, j) = (i + 1, j + 1);
        } else if i < a.len() && (j == b.len() || length(i + 1, j) >= length(i, j + 1)) {
            all.push(Step::Gone(a[i], own, other));
            i += 1;
        } else {
            all.push(Step::New(b[j], own, other));
            j += 1;
        }
    }
    let (a, b) = (old.len() - end, new.len() - end);
    all.extend((0..end).map(|at| Step::Same(old[a + at], a + at, b + at)));
    all
}

/// Lengths of the longest common subsequences of all ends; none of texts that are too long for it.
fn lengths(a: &[&str], b: &[&str]) -> Vec<Vec<u32>> {
    const CELLS_MAX: usize = 4 << 20;
    if a.len().saturating_mul(b.len()) > CELLS_MAX {
        return Vec::new();
    }
    let mut lengths = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            lengths[i][j] = match a[i] == b[j] {
                true => lengths[i + 1][j + 1] + 1,
                false => lengths[i + 1][j].max(lengths[i][j + 1]),
            };
        }
    }
    lengths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_texts_are_compared_as_diff_does() {
        let old: String = (1..=20).map(|n| format!("line {n}\n")).collect();
        let new = old
            .replace("line 5\n", "line five\n")
            .replace("line 18\n", "line 18\nmore\n");
        let shown = unified("file", &old, &new);
        let expected = "--- file\n+++ file (saved)\n@@ -2,7 +2,7 @@\n line 2\n line 3\n line 4\n-line 5\n+line five\n \
            line 6\n line 7\n line 8\n@@ -16,5 +16,6 @@\n line 16\n line 17\n line 18\n+more\n line 19\n line 20\n";
        assert_eq!(shown, expected);
    }
}
