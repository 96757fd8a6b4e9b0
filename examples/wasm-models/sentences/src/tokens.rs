//! From texts to batches of token numbers. Knows nothing of the model but how long its sequences may be.

use nocti_sdk::{ShapeError, Tensor};
use tokenizers::{Tokenizer, TruncationParams};

/// The model was trained on so many tokens; what comes after them in a text is not read.
const MAX_TOKENS: usize = 256;

/// So many tokens, padding included, go through the model at once: more is not faster and fills the instance's memory.
const MAX_BATCH_TOKENS: usize = 2048;

/// The tokenizer that the model was trained with.
pub(crate) struct Tokens {
    tokenizer: Tokenizer,
}

/// Some of the texts, made ready for the model.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Which texts these are.
    pub(crate) texts: Vec<usize>,
    /// INT64 [texts, longest text]: the numbers of the tokens.
    pub(crate) ids: Tensor<i64>,
    /// The same shape: 1 for a token, 0 for padding.
    pub(crate) mask: Tensor<i64>,
}

impl Tokens {
    /// Reads the tokenizer.
    pub(crate) fn new(json: &[u8]) -> tokenizers::Result<Self> {
        let mut tokenizer = Tokenizer::from_bytes(json)?;
        tokenizer.with_truncation(Some(TruncationParams { max_length: MAX_TOKENS, ..TruncationParams::default() }))?;
        // Rows are padded here, to the longest of the batch, whatever the file says.
        tokenizer.with_padding(None);
        Ok(Self { tokenizer })
    }

    /// All the texts, those of like length together: a short text beside a long one costs as much as the long one.
    pub(crate) fn batches(&self, texts: &[String]) -> tokenizers::Result<Vec<Batch>> {
        // One by one: encode_batch would start threads, which a guest has none of.
        let rows: Vec<_> =
            texts.iter().map(|text| self.tokenizer.encode_fast(text.as_str(), true)).collect::<Result<_, _>>()?;
        let mut shortest_first: Vec<_> = rows.iter().map(|row| row.get_ids()).enumerate().collect();
        shortest_first.sort_by_key(|(_, ids)| ids.len());

        let mut batches = Vec::new();
        let mut rest = &shortest_first[..];
        while !rest.is_empty() {
            let fits = |(before, (_, ids)): &(usize, &(usize, &[u32]))| (before + 1) * ids.len() <= MAX_BATCH_TOKENS;
            let count = rest.iter().enumerate().take_while(fits).count().max(1);
            let (now, later) = rest.split_at(count);
            batches.push(batch(now)?);
            rest = later;
        }
        Ok(batches)
    }
}

/// Puts rows, the longest of which is the last, side by side.
fn batch(rows: &[(usize, &[u32])]) -> Result<Batch, ShapeError> {
    let longest = rows.last().map_or(0, |(_, ids)| ids.len());
    let mut ids = Vec::with_capacity(rows.len() * longest);
    let mut mask = Vec::with_capacity(rows.len() * longest);
    for (_, row) in rows {
        ids.extend(row.iter().map(|id| i64::from(*id)));
        mask.extend(row.iter().map(|_| 1_i64));
        // The mask hides the padding, so that its number does not matter.
        ids.resize(ids.len() + longest - row.len(), 0);
        mask.resize(ids.len(), 0);
    }
    let shape = [rows.len(), longest];
    let texts = rows.iter().map(|(text, _)| *text).collect();
    Ok(Batch { texts, ids: Tensor::new(shape, ids)?, mask: Tensor::new(shape, mask)? })
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

    fn batches(texts: &[&str]) -> Vec<Batch> {
        let texts: Vec<_> = texts.iter().map(|text| (*text).to_owned()).collect();
        tokens().batches(&texts).unwrap()
    }

    #[test]
    fn shorter_texts_come_first_and_are_padded() {
        let [batch] = &batches(&["Séas sparkle.", "", "SEA"])[..] else {
            panic!("three short texts are one batch");
        };
        let ids = vec![1, 2, 0, 0, 0, 0, 1, 4, 2, 0, 0, 0, 1, 4, 5, 6, 7, 2];
        let mask = vec![1, 1, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1, 1, 1, 1];
        assert_eq!(batch.texts, [1, 2, 0]);
        assert_eq!(batch.ids, Tensor::new([3, 6], ids).unwrap());
        assert_eq!(batch.mask, Tensor::new([3, 6], mask).unwrap());
    }

    #[test]
    fn what_is_unknown_is_one_token() {
        assert_eq!(batches(&["sky"])[0].ids.data(), [1, 3, 2]);
    }

    #[test]
    fn long_texts_are_cut_and_keep_their_end_mark() {
        let batches = batches(&[&"sea ".repeat(1000)]);
        assert_eq!(batches[0].ids.shape(), [1, MAX_TOKENS]);
        assert_eq!(batches[0].ids.data()[MAX_TOKENS - 2..], [4, 2]);
    }

    #[test]
    fn long_texts_are_spread_over_batches() {
        let long = "sea ".repeat(300);
        let batches = batches(&[&[long.as_str(); 9][..], &["sea"]].concat());
        let shapes: Vec<_> = batches.iter().map(|batch| batch.ids.shape().to_vec()).collect();
        assert_eq!(shapes, [[8, 256], [2, 256]]);
        assert_eq!(batches[0].texts[0], 9, "the short one comes first");
        assert_eq!(batches[1].texts, [7, 8]);
        assert!(tokens().batches(&[]).unwrap().is_empty());
    }

    #[test]
    fn a_broken_tokenizer_is_an_error() {
        assert!(Tokens::new(b"{}").is_err());
    }
}
