//! Wraps long lines for a terminal, between words and with the indent of the line's text.

/// Narrowest terminal, in columns, for which lines are wrapped.
const NARROWEST: usize = 40;

/// Labels at the beginning of a line. Its continuation is indented by the label's length.
const LABELS: &[&str] = &["error    ", "note     ", "  error    ", "  warning  ", "           "];

/// `text` in lines of at most `width` characters; a longer word has a line of its own.
pub(super) fn wrapped(text: &str, width: usize) -> String {
    if width < NARROWEST {
        return text.to_owned();
    }
    text.lines().map(|line| broken(line, width)).collect::<Vec<_>>().join("\n")
}

fn broken(line: &str, width: usize) -> String {
    let label = LABELS.iter().find(|label| line.starts_with(**label)).map_or(0, |label| label.len());
    let (mut lines, mut current) = (Vec::new(), line.get(..label).unwrap_or_default().to_owned());
    let mut is_empty = true;
    for word in line.get(label..).unwrap_or_default().split(' ') {
        let length = current.chars().count() + usize::from(!is_empty) + word.chars().count();
        if !is_empty && length > width {
            lines.push(std::mem::replace(&mut current, " ".repeat(label)));
            is_empty = true;
        }
        if !is_empty {
            current.push(' ');
        }
        current.push_str(word);
        is_empty = false;
    }
    lines.push(current);
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_on_under_its_own_text() {
        let text = "acme/support  (workers.yaml#1)\n  warning  [bounds-differ] the object scales 0 to 9, the trigger says 0 to 8\n           fix: short";
        assert_eq!(
            wrapped(text, 50),
            "acme/support  (workers.yaml#1)\n  warning  [bounds-differ] the object scales 0 to\n           9, the trigger says 0 to 8\n           fix: short"
        );
        assert_eq!(wrapped(text, 200), text);
        assert_eq!(wrapped(text, 10), text);
        let long = format!("note     {} b", "a".repeat(60));
        assert_eq!(wrapped(&long, 50), format!("note     {}\n         b", "a".repeat(60)));
    }
}
