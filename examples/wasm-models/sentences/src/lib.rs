//! Turns sentences into vectors whose cosine says how close their meanings are: all-MiniLM-L6-v2.

mod pooling;
mod tokens;

use nocti_sdk::prelude::*;
use tokens::Tokens;

/// So many texts go through the model at once: more would fill the instance's memory without being faster.
const MAX_ROWS: usize = 32;

struct Sentences {
    tokens: Tokens,
    model: Model,
}

impl Function for Sentences {
    fn init() -> Result<Self> {
        let tokens = Tokens::new(&assets::read("tokenizer.json")?).map_err(Error::internal)?;
        Ok(Self {
            tokens,
            model: Model::load("minilm")?,
        })
    }

    fn predict(&mut self, mut request: Request) -> Result<Values> {
        let text: Text = request.take("text")?;
        if text.is_empty() || text.shape().len() != 1 {
            return Err(Error::invalid_input(format!(
                "`text` is {:?}, not [1 or more]",
                text.shape()
            )));
        }
        let mut embeddings = Vec::new();
        for texts in text.elements().chunks(MAX_ROWS) {
            let batch = self.tokens.batch(texts).map_err(Error::internal)?;
            let mut outputs = self
                .model
                .run([("input_ids", batch.ids), ("attention_mask", batch.mask.clone())])?;
            let hidden: Tensor<f32> = outputs.take("last_hidden_state")?;
            embeddings.extend(pooling::pool(&hidden, &batch.mask)?);
        }
        let width = embeddings.len() / text.len();
        Ok(Values::new().with("embeddings", Tensor::new([text.len(), width], embeddings)?))
    }
}

nocti_sdk::export!(Sentences);
