//! `docs/config.md` as the manual page `dirigo.toml(5)`, so that the two cannot disagree.

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

/// What comes before the document's own words.
const HEAD: &str = ".TH DIRIGO.TOML 5 \"\" Dirigo Dirigo\n.SH NAME\n\
                    dirigo.toml \\- configuration of dirigo, the LVS director\n.SH DESCRIPTION\n";

/// The page.
pub fn page(markdown: &str) -> String {
    let mut page = Page {
        text: HEAD.to_owned(),
        ..Page::default()
    };
    for event in Parser::new_ext(markdown, Options::ENABLE_TABLES) {
        page.take(event);
    }
    page.text
}

#[derive(Default)]
struct Page {
    text: String,
    /// Inside the document's title, which is the page's name already.
    is_title: bool,
    is_code: bool,
    /// Names of a table's columns.
    columns: Vec<String>,
    is_head: bool,
    column: usize,
    lists: usize,
}

impl Page {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(&tag),
            Event::End(tag) => self.end(tag),
            Event::Text(_) | Event::Code(_) if self.is_title => {}
            Event::Text(text) | Event::Code(text) if self.is_head => self.head(&text),
            Event::Text(text) => self.words(&text),
            Event::Code(text) => {
                self.text += "\\fB";
                self.words(&text);
                self.text += "\\fR";
            }
            Event::SoftBreak | Event::HardBreak => self.text += "\n",
            _ => {}
        }
    }

    fn start(&mut self, tag: &Tag<'_>) {
        match tag {
            Tag::Heading { level, .. } => match level {
                HeadingLevel::H1 => self.is_title = true,
                HeadingLevel::H2 => self.macro_line(".SH "),
                _ => self.macro_line(".SS "),
            },
            Tag::Paragraph if self.lists == 0 => self.macro_line(".PP\n"),
            Tag::CodeBlock(CodeBlockKind::Fenced(_) | CodeBlockKind::Indented) => {
                self.is_code = true;
                self.macro_line(".PP\n.RS 4\n.nf\n");
            }
            Tag::List(_) => self.lists += 1,
            Tag::Item => self.macro_line(".IP \\(bu 2\n"),
            Tag::Table(_) => self.columns.clear(),
            Tag::TableHead => self.is_head = true,
            Tag::TableRow => {
                self.column = 0;
                self.macro_line(".TP\n");
            }
            Tag::TableCell if self.is_head => self.columns.push(String::new()),
            Tag::TableCell if self.column > 0 => {
                let name = self.columns.get(self.column).cloned().unwrap_or_default();
                // A name that says nothing beside the cell is left out.
                if !name.is_empty() {
                    self.text += "\n\\fI";
                    self.words(&name);
                    self.text += "\\fR: ";
                }
            }
            Tag::Emphasis => self.text += "\\fI",
            Tag::Strong => self.text += "\\fB",
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Heading(HeadingLevel::H1) => self.is_title = false,
            TagEnd::Heading(_) => self.text += "\n",
            TagEnd::CodeBlock => {
                self.is_code = false;
                self.macro_line(".fi\n.RE\n");
            }
            TagEnd::List(_) => self.lists -= 1,
            TagEnd::TableHead => self.is_head = false,
            TagEnd::TableCell if !self.is_head => {
                if self.column > 0 {
                    self.text += "\n.br";
                }
                self.text += "\n";
                self.column += 1;
            }
            TagEnd::Emphasis | TagEnd::Strong => self.text += "\\fR",
            _ => {}
        }
    }

    /// The header of the column that is being read.
    fn head(&mut self, text: &str) {
        if let Some(column) = self.columns.last_mut() {
            *column += text;
        }
    }

    /// A request stands at the beginning of a line.
    fn macro_line(&mut self, line: &str) {
        if !self.text.ends_with('\n') {
            self.text += "\n";
        }
        self.text += line;
    }

    /// Text as it is meant: no backslash, dash, leading dot or quote of its own means something to troff.
    fn words(&mut self, text: &str) {
        for (number, line) in text.split('\n').enumerate() {
            if number > 0 {
                self.text += "\n";
            }
            let begins = self.text.ends_with('\n');
            if begins && line.starts_with(['.', '\'']) {
                self.text += "\\&";
            }
            self.text += &line.replace('\\', "\\e").replace('-', "\\-");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_code_tables_and_lists_become_requests() {
        let text = "# Title\n\nWords of `a-key`.\n\n## The *file*\n\n```toml\n.x = '\\n'\n```\n\n\
                    | key | default |\n| --- | --- |\n| `port` | 80 |\n\n- one\n- two\n";
        let expected = ".PP\nWords of \\fBa\\-key\\fR.\n.SH The \\fIfile\\fR\n.PP\n.RS 4\n.nf\n\\&.x = '\\en'\n\
                        .fi\n.RE\n.TP\n\\fBport\\fR\n\n\\fIdefault\\fR: 80\n.br\n.IP \\(bu 2\none\n.IP \\(bu 2\ntwo";
        assert_eq!(page(text).strip_prefix(HEAD).unwrap(), expected);
    }

    #[test]
    fn the_page_has_every_heading_of_the_document_and_no_raw_markdown() {
        let document = include_str!("../../../docs/config.md");
        let page = page(document);
        let sections =
            |mark: &str, text: &str| text.lines().filter(|line| line.starts_with(mark)).count();
        assert_eq!(sections("## ", document) + 2, sections(".SH ", &page));
        assert!(!page.contains("```") && !page.contains("](") && !page.contains("| ---"));
    }
}
