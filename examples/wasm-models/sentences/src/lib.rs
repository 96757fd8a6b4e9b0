//! Turns sentences into vectors whose cosine says how close their meanings are: all-MiniLM-L6-v2.

mod pooling;
mod tokens;

use nocti_sdk::prelude::*;
use tokens::Tokens;

struct Sentences {
    tokens: Tokens,
    model: Model,
}

impl Function for Sentences {
    fn init() -> Result<Self> {
        let tokens = Tokens::new(&assets::read("tokenizer.json")?).map_err(Error::internal)?;
        Ok(Self { tokens, model: Model::load("minilm")? })
    }

    fn predict(&mut self, mut request: Request) -> Result<Values> {
        let text: Text = request.take("text")?;
        if text.is_empty() || text.shape().len() != 1 {
            return Err(Error::invalid_input(format!("`text` is {:?}, not [1 or more]", text.shape())));
        }
        let mut rows = vec![Vec::new(); text.len()];
        for batch in self.tokens.batches(text.elements()).map_err(Error::internal)? {
            let mut outputs = self.model.run([("input_ids", batch.ids), ("attention_mask", batch.mask.clone())])?;
            let hidden: Tensor<f32> = outputs.take("last_hidden_state")?;
            for (text, embedding) in batch.texts.into_iter().zip(pooling::pool(&hidden, &batch.mask)?) {
                rows[text] = embedding;
            }
        }
        let embeddings = Tensor::new([rows.len(), rows[0].len()], rows.concat())?;
        Ok(Values::new().with("embeddings", embeddings))
    }
}

nocti_sdk::export!(Sentences, init);
