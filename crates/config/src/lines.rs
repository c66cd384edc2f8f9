//! Byte offsets to lines and columns.

/// A place in a text. Both count from 1; a column is a character, a tab is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub line: usize,
    pub column: usize,
}

/// A text and where its lines begin.
pub(crate) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub fn new(text: &'a str) -> Self {
        let after_breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            text,
            starts: std::iter::once(0).chain(after_breaks).collect(),
        }
    }

    /// The place of a byte. An offset behind the text means its end; one inside a character
    /// means that character.
    pub fn position(&self, offset: usize) -> Position {
        let offset = self.text.floor_char_boundary(offset);
        let line = self.starts.partition_point(|&start| start <= offset);
        let start = self.starts.get(line - 1).copied().unwrap_or_default();
        Position {
            line,
            column: self.text[start..offset].chars().count() + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(text: &str, offset: usize) -> (usize, usize) {
        let found = Lines::new(text).position(offset);
        (found.line, found.column)
    }

    #[test]
    fn lines_and_columns_count_from_one_and_in_characters() {
        let text = "ä = 1\nβγ = 2\n";
        assert_eq!(position(text, 0), (1, 1));
        assert_eq!(position(text, text.find('1').unwrap()), (1, 5));
        assert_eq!(position(text, text.find('2').unwrap()), (2, 6));
    }

    #[test]
    fn an_offset_behind_the_text_is_its_end() {
        assert_eq!(position("", 7), (1, 1));
        assert_eq!(position("ab", 99), (1, 3));
        assert_eq!(position("ab\n", 3), (2, 1));
    }

    #[test]
    fn an_offset_inside_a_character_is_that_character() {
        assert_eq!(position("aä", 2), (1, 2));
    }
}
