//! Text of others, made safe to print: the one place that escapes for terminals, logs and one-line texts.
//!
//! A queue's name, a backend's error and a file's path may hold whatever their author wrote: an escape sequence that
//! moves the cursor, a newline that begins a forged line, an override that turns the reading direction.

use std::fmt::{self, Display, Write};

/// A value on one line: whatever a terminal would obey, or would not show, is escaped as Rust writes it (`\u{1b}`).
#[derive(Debug)]
pub struct Printable<T>(pub T);

/// The same for a text of several lines: newlines stay.
#[derive(Debug)]
pub struct PrintableLines<T>(pub T);

impl<T: Display> Display for Printable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping { out: f, keeps_newlines: false }, "{}", self.0)
    }
}

impl<T: Display> Display for PrintableLines<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping { out: f, keeps_newlines: true }, "{}", self.0)
    }
}

/// At most `longest` characters of a value on one line; what follows is formatted no further.
#[derive(Debug)]
pub struct Short<T> {
    /// The value.
    pub value: T,
    /// Most characters, the mark of the cut not counted.
    pub longest: usize,
}

impl<T: Display> Display for Short<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bounded = Bounded { out: f, left: self.longest, is_cut: false };
        let result = write!(Escaping { out: &mut bounded, keeps_newlines: false }, "{}", self.value);
        if bounded.is_cut { f.write_char('…') } else { result }
    }
}

/// JSON with every character that a terminal would obey as `\uXXXX`: the same values for a program.
pub fn printable_json(json: String) -> String {
    // Between its strings JSON has nothing but ASCII, and newlines where it is written for people.
    let is_fine = |c: char| c == '\n' || is_printable(c);
    if json.chars().all(is_fine) {
        return json;
    }
    let mut escaped = String::with_capacity(json.len() + 64);
    let mut units = [0; 2];
    for c in json.chars() {
        if is_fine(c) {
            escaped.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut units) {
            // Writing into a `String` cannot fail.
            let _ = write!(escaped, "\\u{unit:04x}");
        }
    }
    escaped
}

/// Whether a terminal shows a character, and does nothing else.
pub const fn is_printable(c: char) -> bool {
    match c {
        // C0 and DEL, C1, soft hyphen; line and paragraph separators.
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{ad}' | '\u{2028}' | '\u{2029}' => false,
        // Zero width, and everything that turns the reading direction.
        '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' => false,
        '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}' => false,
        _ => true,
    }
}

/// Escapes what passes through it.
struct Escaping<'a, W: Write> {
    out: &'a mut W,
    keeps_newlines: bool,
}

impl<W: Write> Write for Escaping<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        let is_fine = |c: char| is_printable(c) || (self.keeps_newlines && c == '\n');
        while let Some(at) = rest.find(|c| !is_fine(c)) {
            let (fine, from) = rest.split_at(at);
            self.out.write_str(fine)?;
            let mut chars = from.chars();
            if let Some(bad) = chars.next() {
                write!(self.out, "{}", bad.escape_default())?;
            }
            rest = chars.as_str();
        }
        self.out.write_str(rest)
    }
}

/// Ends with an error once it has let so many characters pass.
struct Bounded<'a, W: Write> {
    out: &'a mut W,
    left: usize,
    is_cut: bool,
}

impl<W: Write> Write for Bounded<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let Some((end, _)) = text.char_indices().nth(self.left) else {
            self.left -= text.chars().count().min(self.left);
            return self.out.write_str(text);
        };
        self.left = 0;
        self.is_cut = true;
        self.out.write_str(text.get(..end).unwrap_or_default())?;
        Err(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped_and_other_text_is_not() {
        for (raw, printed) in [
            ("queue \u{1b}[2J\u{7}", "queue \\u{1b}[2J\\u{7}"),
            ("a\nb\r\tc", "a\\nb\\r\\tc"),
            ("\u{9b}31m \u{85}", "\\u{9b}31m \\u{85}"),
            ("\u{202e}gpj.exe\u{2066}\u{2028}", "\\u{202e}gpj.exe\\u{2066}\\u{2028}"),
            ("zero\u{200b}width", "zero\\u{200b}width"),
            ("größe → 5 % „käse“ 東京 \\ \"'", "größe → 5 % „käse“ 東京 \\ \"'"),
        ] {
            assert_eq!(Printable(raw).to_string(), printed);
        }
        assert_eq!(PrintableLines("a\nb\u{1b}").to_string(), "a\nb\\u{1b}");
    }

    #[test]
    fn a_short_text_is_whole_and_a_long_one_says_that_it_was_cut() {
        let short = |value| Short { value, longest: 4 }.to_string();
        assert_eq!([short("äöüß"), short("äöüßx"), short("a\nbc")], ["äöüß", "äöüß…", "a\\nb…"]);
    }

    proptest! {
        #[test]
        fn json_means_the_same_and_shows_no_character_that_is_obeyed(text in "\\PC*|[\\x00-\\u{9f}\u{2028}\u{202e}\u{e0041}]*") {
            let json = printable_json(serde_json::to_string(&text).unwrap());
            prop_assert!(json.chars().all(is_printable));
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }

        #[test]
        fn one_line_is_one_line(text in any::<String>()) {
            prop_assert!(Printable(&text).to_string().chars().all(is_printable));
        }
    }
}
