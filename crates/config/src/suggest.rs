//! "Did you mean": the closest of a few words.

/// The candidate that differs least from `word`, if the difference looks like a slip: one
/// mistake for each three characters, and at least one. Case, `-` and `_` do not count.
pub(crate) fn closest<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    let word = folded(word);
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let other = folded(candidate);
            let slips = (word.len().max(other.len()) / 3).max(1);
            if word.len().abs_diff(other.len()) > slips {
                return None;
            }
            let distance = distance(&word, &other);
            (distance <= slips).then_some((distance, candidate))
        })
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// What to do about a name that is none of `known`: the closest of them, or else to `define` it.
pub(crate) fn among<'c>(
    name: &str,
    known: impl IntoIterator<Item = &'c str>,
    define: &str,
) -> String {
    match closest(name, known) {
        Some(meant) => format!("did you mean \"{meant}\"?"),
        None => define.to_owned(),
    }
}

fn folded(word: &str) -> Vec<char> {
    word.chars()
        .map(|c| {
            if c == '-' {
                '_'
            } else {
                c.to_ascii_lowercase()
            }
        })
        .collect()
}

/// Insertions, deletions, substitutions and swaps of neighbours that turn one into the other
/// (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &y) in b.iter().enumerate() {
            let substituted = last[j] + usize::from(x != y);
            let mut least = substituted.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && x == b[j - 1] && a[i - 1] == y {
                least = least.min(before_last[j - 1] + 1);
            }
            row.push(least);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slip_in_three_characters_is_forgiven() {
        let words = ["address", "weight", "protocol"];
        assert_eq!(closest("adress", words), Some("address"));
        assert_eq!(closest("wieght", words), Some("weight"));
        assert_eq!(closest("Protocol", words), Some("protocol"));
        assert_eq!(closest("colour", words), None);
        assert_eq!(closest("", words), None);
    }

    #[test]
    fn a_swap_of_neighbours_is_one_slip() {
        let chars = |word: &str| word.chars().collect::<Vec<_>>();
        assert_eq!(distance(&chars("wlc"), &chars("wcl")), 1);
        assert_eq!(distance(&chars(""), &chars("abc")), 3);
        assert_eq!(distance(&chars("same"), &chars("same")), 0);
    }
}
