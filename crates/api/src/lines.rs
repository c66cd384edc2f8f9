//! Newline-delimited text that arrives in pieces of any size.

/// Longest line: a [`crate::Connection`] is about 200 bytes, this leaves room for new fields.
const LINE_MAX_BYTES: usize = 64 << 10;

/// Pieces in, whole lines out; never holds more than one piece and one unfinished line.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    buffer: Vec<u8>,
    /// Where the next line starts in `buffer`.
    start: usize,
}

impl Lines {
    /// Takes the next piece.
    ///
    /// # Errors
    ///
    /// A sentence, when the unfinished line is longer than any honest one.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Result<(), String> {
        self.buffer.drain(..self.start);
        self.start = 0;
        if self.buffer.len() > LINE_MAX_BYTES {
            return Err(format!("a line is longer than {LINE_MAX_BYTES} bytes"));
        }
        self.buffer.extend_from_slice(piece);
        Ok(())
    }

    /// The next whole line, without its newline. Blank lines are passed over.
    pub(crate) fn next_line(&mut self) -> Option<&[u8]> {
        let rest = self.rest();
        let blank = rest.iter().take_while(|byte| **byte == b'\n').count();
        let line = rest.get(blank..)?;
        let length = line.iter().position(|byte| *byte == b'\n')?;
        let start = self.start + blank;
        self.start = start + length + 1;
        self.buffer.get(start..start + length)
    }

    /// What follows the last whole line.
    pub(crate) fn rest(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(pieces: &[&[u8]]) -> (Vec<Vec<u8>>, Vec<u8>) {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        for piece in pieces {
            lines.push(piece).unwrap();
            found.extend(std::iter::from_fn(|| lines.next_line().map(<[u8]>::to_vec)));
        }
        (found, lines.rest().to_vec())
    }

    #[test]
    fn what_follows_the_last_newline_is_the_rest() {
        let (found, rest) = all(&[b"one\ntw", b"o\nthr"]);
        assert_eq!(found, [b"one".to_vec(), b"two".to_vec()]);
        assert_eq!(rest, b"thr");
    }

    #[test]
    fn a_line_without_end_is_refused_instead_of_kept() {
        let mut lines = Lines::default();
        let piece = vec![b'x'; LINE_MAX_BYTES];
        lines.push(&piece).unwrap();
        lines.push(&piece).unwrap();
        assert!(lines.push(&piece).is_err());
    }

    proptest! {
        #[test]
        fn the_lines_do_not_depend_on_where_the_pieces_were_cut(
            text in "[ab\n]{0,80}",
            cuts in proptest::collection::vec(0usize..80, 0..6),
        ) {
            let whole = all(&[text.as_bytes()]);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.push(0);
            cuts.push(text.len());
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts
                .windows(2)
                .map(|pair| &text.as_bytes()[pair[0]..pair[1]])
                .collect();
            prop_assert_eq!(all(&pieces), whole);
        }
    }
}
