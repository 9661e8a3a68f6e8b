//! A user's text inside an error: short, and without characters that a terminal or a log would obey.

use crate::text::is_printable;

/// Longest part of a user's text, in characters: enough to recognise it, too little to flood a log.
const LONGEST: usize = 60;

/// At most 60 characters of a user's text, with control characters written as escapes (`\n`, `\u{1b}`).
pub fn shortened(text: &str) -> String {
    cut(text, LONGEST)
}

/// At most `longest` characters of `text`, with control characters written as escapes.
pub fn cut(text: &str, longest: usize) -> String {
    let mut rest = text.chars();
    let mut shown = String::new();
    for character in rest.by_ref().take(longest) {
        if is_printable(character) {
            shown.push(character);
        } else {
            shown.extend(character.escape_default());
        }
    }
    if rest.next().is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut() {
        assert_eq!(shortened(&"x".repeat(61)), format!("{}…", "x".repeat(60)));
        assert_eq!(shortened(&"ü".repeat(60)), "ü".repeat(60));
    }

    #[test]
    fn what_a_terminal_would_obey_is_written_out() {
        assert_eq!(shortened("a\u{1b}[2Jb\nc\u{9b}d\u{202e}e"), r"a\u{1b}[2Jb\nc\u{9b}d\u{202e}e");
        assert_eq!(shortened(r#"größer "x" \d 'y'"#), r#"größer "x" \d 'y'"#);
    }
}
