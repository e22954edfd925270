//! Texts from elsewhere, made fit for a terminal.

/// A text that stays one line and does nothing to a terminal, whatever it holds: control characters are replaced, and those
/// that turn the direction of writing.
#[must_use]
pub fn printable(text: &str) -> String {
    let is_harmful = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.replace(is_harmful, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_that_commands_a_terminal_or_turns_the_direction_of_writing() {
        assert_eq!(printable("a\u{1b}[31mb\nc\u{202e}d\u{2066}é"), "a\u{fffd}[31mb\u{fffd}c\u{fffd}d\u{fffd}é");
    }
}
