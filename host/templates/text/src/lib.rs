//! Counts the words and characters of texts and names each one's longest word.
//!
//! A function needs no model; this is also where a tokenizer would go before one.

use nocti_sdk::prelude::*;

struct Counter;

impl Function for Counter {
    fn init() -> Result<Self> {
        Ok(Self)
    }

    fn predict(&mut self, mut request: Request) -> Result<Values> {
        let text: Text = request.take("text")?;
        let texts = text.elements();
        let words: Vec<i64> = texts.iter().map(|text| count(text.split_whitespace())).collect();
        let characters: Vec<i64> = texts.iter().map(|text| count(text.chars())).collect();
        let longest: Vec<String> = texts.iter().map(|text| longest_word(text)).collect();
        Ok(Values::new()
            .with("words", words)
            .with("characters", characters)
            .with("longest", Text::from(longest)))
    }
}

nocti_sdk::export!(Counter);

fn count(items: impl Iterator) -> i64 {
    items.fold(0, |count, _| count + 1)
}

/// The first of the longest words, without the punctuation around it.
fn longest_word(text: &str) -> String {
    let words = text.split_whitespace().map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()));
    let longest = words.rev().max_by_key(|word| word.chars().count());
    longest.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_counted() {
        let text = Text::from(vec!["The sea sparkles at night.".to_owned(), String::new()]);
        let answer = Counter.predict(Request::new([("text", text)])).unwrap();
        assert_eq!(answer.len(), 3);
        assert_eq!(longest_word("The sea sparkles at night."), "sparkles");
        assert_eq!(longest_word(""), "");
    }
}
