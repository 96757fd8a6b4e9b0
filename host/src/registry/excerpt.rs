//! A caller's text as a message may repeat it.

/// A caller's text may be any length; a message need not be.
const MAX_CHARS: usize = 120;

/// The beginning of `text`, with whatever does not print escaped.
pub(crate) fn excerpt(text: &str) -> String {
    text.chars().take(MAX_CHARS).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_and_control_characters_escaped() {
        assert_eq!(excerpt("a\n\u{1b}é"), "a\\n\\u{1b}é");
        assert_eq!(excerpt(&"é".repeat(1000)), "é".repeat(MAX_CHARS));
    }
}
