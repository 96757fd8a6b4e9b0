//! From texts to the token numbers of one batch. Knows nothing of the model but how long its sequences may be.

use nocti_sdk::Tensor;
use tokenizers::{Tokenizer, TruncationParams};

/// The model was trained on so many tokens; what comes after them in a text is not read.
const MAX_TOKENS: usize = 256;

/// The tokenizer that the model was trained with.
pub(crate) struct Tokens {
    tokenizer: Tokenizer,
}

/// INT64 [texts, longest text]: the numbers of the tokens, and 1 for a token, 0 for padding.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) ids: Tensor<i64>,
    pub(crate) mask: Tensor<i64>,
}

impl Tokens {
    /// Reads the tokenizer.
    pub(crate) fn new(json: &[u8]) -> tokenizers::Result<Self> {
        let mut tokenizer = Tokenizer::from_bytes(json)?;
        tokenizer.with_truncation(Some(TruncationParams {
            max_length: MAX_TOKENS,
            ..TruncationParams::default()
        }))?;
        // Rows are padded here, to the longest of the batch, whatever the file says.
        tokenizer.with_padding(None);
        Ok(Self { tokenizer })
    }

    /// The tokens of these texts. At least one token each: the model's marks for start and end.
    pub(crate) fn batch(&self, texts: &[String]) -> tokenizers::Result<Batch> {
        // One by one: encode_batch would start threads, which a guest has none of.
        let rows: Vec<_> = texts
            .iter()
            .map(|text| self.tokenizer.encode_fast(text.as_str(), true))
            .collect::<Result<_, _>>()?;
        let longest = rows.iter().map(|row| row.get_ids().len()).max().unwrap_or(0);
        let mut ids = Vec::with_capacity(rows.len() * longest);
        let mut mask = Vec::with_capacity(rows.len() * longest);
        for row in &rows {
            ids.extend(row.get_ids().iter().map(|id| i64::from(*id)));
            mask.extend(row.get_ids().iter().map(|_| 1_i64));
            // The mask hides the padding, so that its number does not matter.
            ids.resize(ids.len() + longest - row.get_ids().len(), 0);
            mask.resize(ids.len(), 0);
        }
        let shape = [rows.len(), longest];
        Ok(Batch {
            ids: Tensor::new(shape, ids)?,
            mask: Tensor::new(shape, mask)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tokenizer of the same build as the model's, with a vocabulary of eight.
    fn tokens() -> Tokens {
        let json = r###"{
            "version": "1.0", "truncation": null,
            "padding": {"strategy": {"Fixed": 99}, "direction": "Right", "pad_to_multiple_of": null,
                "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"},
            "added_tokens": [],
            "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                "strip_accents": null, "lowercase": true},
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": {"type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                    {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
                "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [1], "tokens": ["[CLS]"]},
                    "[SEP]": {"id": "[SEP]", "ids": [2], "tokens": ["[SEP]"]}}},
            "decoder": null,
            "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100,
                "vocab": {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "[UNK]": 3, "sea": 4, "##s": 5, "sparkle": 6, ".": 7}}
        }"###;
        Tokens::new(json.as_bytes()).unwrap()
    }

    #[test]
    fn shorter_texts_are_padded_and_masked() {
        let batch = tokens()
            .batch(&["Séas sparkle.".to_owned(), "SEA".to_owned(), String::new()])
            .unwrap();
        let ids = vec![1, 4, 5, 6, 7, 2, 1, 4, 2, 0, 0, 0, 1, 2, 0, 0, 0, 0];
        let mask = vec![1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0];
        assert_eq!(batch.ids, Tensor::new([3, 6], ids).unwrap());
        assert_eq!(batch.mask, Tensor::new([3, 6], mask).unwrap());
    }

    #[test]
    fn what_is_unknown_is_one_token() {
        let batch = tokens().batch(&["sky".to_owned()]).unwrap();
        assert_eq!(batch.ids.data(), [1, 3, 2]);
    }

    #[test]
    fn long_texts_are_cut_and_keep_their_end_mark() {
        let batch = tokens().batch(&["sea ".repeat(1000)]).unwrap();
        assert_eq!(batch.ids.shape(), [1, MAX_TOKENS]);
        assert_eq!(batch.ids.data()[MAX_TOKENS - 2..], [4, 2]);
    }

    #[test]
    fn a_broken_tokenizer_is_an_error() {
        assert!(Tokens::new(b"{}").is_err());
    }
}
