//! An answer of the inference protocol as people read it: a table of outputs.

use anyhow::Context;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cli::output::Table;

/// More values of one row, and more rows of one output, are counted but not shown.
const SHOWN_VALUES: usize = 12;
const SHOWN_ROWS: usize = 10;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer {
    model_name: String,
    model_version: String,
    outputs: Vec<Output>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Output {
    name: String,
    datatype: String,
    shape: Vec<usize>,
    data: Vec<Value>,
}

/// The table.
pub(super) fn text(body: &[u8]) -> anyhow::Result<String> {
    let answer: Answer = serde_json::from_slice(body).context("the host's answer is not as expected")?;
    let mut table = Table::new(["OUTPUT", "DATATYPE", "SHAPE", "VALUES"]);
    for output in &answer.outputs {
        let shape = json!(output.shape).to_string();
        let mut lines = rows(output).into_iter();
        let first = lines.next().unwrap_or_default();
        table.row([output.name.clone(), output.datatype.clone(), shape, first]);
        for line in lines {
            table.row([String::new(), String::new(), String::new(), line]);
        }
    }
    Ok(format!("{} {}\n{}", answer.model_name, answer.model_version, table.text(0)))
}

/// One line for each entry of the first dimension; an output of one dimension is one line.
fn rows(output: &Output) -> Vec<String> {
    let length = match output.shape.as_slice() {
        [] | [_] => output.data.len(),
        [_, inner @ ..] => inner.iter().product(),
    };
    let rows: Vec<&[Value]> = output.data.chunks(length.max(1)).collect();
    let mut lines: Vec<String> = rows.iter().take(SHOWN_ROWS).map(|row| line(row)).collect();
    if rows.len() > SHOWN_ROWS {
        lines.push(format!("... {} more rows", rows.len() - SHOWN_ROWS));
    }
    lines
}

fn line(row: &[Value]) -> String {
    let mut words: Vec<String> = row.iter().take(SHOWN_VALUES).map(shown).collect();
    if row.len() > SHOWN_VALUES {
        words.push(format!("... {} more", row.len() - SHOWN_VALUES));
    }
    words.join(" ")
}

/// Fractions to four places, or in powers of ten where that would hide them; everything else as it is.
fn shown(value: &Value) -> String {
    match value.as_f64().filter(|_| value.is_f64()) {
        Some(number) if number != 0.0 && !(1e-3..1e6).contains(&number.abs()) => format!("{number:.3e}"),
        Some(number) => format!("{number:.4}"),
        None => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_a_table() {
        let answer = json!({"model_name": "digits", "model_version": "1.0.0", "outputs": [
            {"name": "label", "datatype": "INT64", "shape": [2], "data": [7, 1]},
            {"name": "scores", "datatype": "FP32", "shape": [2, 3], "data": [0.5, 0.000012, "NaN", 1.0, 2500000.5, 0.0]},
            {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["seven \"7\""]},
        ]});
        let expected = "\
digits 1.0.0
OUTPUT  DATATYPE  SHAPE  VALUES
label   INT64     [2]    7 1
scores  FP32      [2,3]  0.5000 1.200e-5 \"NaN\"
                         1.0000 2.500e6 0.0000
text    BYTES     [1]    \"seven \\\"7\\\"\"
";
        assert_eq!(text(answer.to_string().as_bytes()).expect("an answer"), expected);
    }

    #[test]
    fn long_outputs_are_cut() {
        let output = |shape: &[usize]| Output {
            shape: shape.to_vec(),
            data: vec![json!(1); shape.iter().product()],
            ..Output::default()
        };
        assert_eq!(rows(&output(&[100])), ["1 1 1 1 1 1 1 1 1 1 1 1 ... 88 more"]);
        let lines = rows(&output(&[12, 2]));
        assert_eq!((lines.len(), lines[10].as_str()), (11, "... 2 more rows"));
        assert!(rows(&output(&[0, 3])).is_empty());
    }
}
