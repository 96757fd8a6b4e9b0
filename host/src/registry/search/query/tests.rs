use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Query {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn every_kind_of_term_is_read_and_written_again() {
    for (text, written) in [
        ("", ""),
        ("  Digits\tgrey ", "digits grey"),
        ("\"Hand-written  digits\"", "\"hand-written  digits\""),
        ("-x", "-x"),
        ("a-b", "a-b"),
        ("\"-x\" -\"a:b\"", "\"-x\" -\"a:b\""),
        (r#""a \"b\" \\ \c""#, r#""a \"b\" \\ \\c""#),
        (
            "Tag:Vision author:\"Ada Lovelace\" license:Apache-2.0",
            "tag:vision author:\"ada lovelace\" license:apache-2.0",
        ),
        ("name:digits kind:TYPED device:cuda:1 -device:cpu", "name:digits kind:typed device:cuda:1 -device:cpu"),
        ("input:image output:FP32 model:CNN", "input:image output:fp32 model:cnn"),
        ("label:team label:a/b.c=", "label:team label:a/b.c=\"\""),
        ("label:Team=\"Two words\" -label:stage=a=b", "label:team=\"two words\" -label:stage=a=b"),
        ("accuracy>0.9 f1>=.5 loss<1e-3", "accuracy>0.9 f1>=0.5 loss<0.001"),
        ("loss<=-1 epochs=3 \"Top 1\"!=1e300", "loss<=-1.0 epochs=3.0 \"top 1\"!=1e300"),
        ("ÅNGSTRÖM", "ångström"),
    ] {
        assert_eq!(read(text).to_string(), written);
        assert_eq!(read(written), read(text), "{text}");
    }
}

#[test]
fn what_is_wrong_is_shown_with_its_place_and_a_way_out() {
    let many = "a ".repeat(33);
    for (text, parts) in [
        ("a é:x", &["at character 3: there is no field 'é'; there are name, tag, ", "label", "goes in quotes"][..]),
        ("http://x", &["no field 'http'"]),
        ("tag:", &["at character 5: nothing is behind 'tag:'"]),
        ("tag:\"\"", &["nothing is behind 'tag:'"]),
        ("kind:wasm", &["'wasm' is no kind; there are model-only, typed and http"]),
        ("device:tpu", &["'tpu' is not a device: write auto, cpu"]),
        ("label:", &["'' is not a valid label"]),
        ("label:a$b=1", &["'a$b' is not a valid label"]),
        ("accuracy > 0.9", &["at character 10: a comparison has no spaces in it: accuracy>0.9"]),
        ("accuracy> 0.9", &["at character 10: a comparison has no spaces"]),
        ("accuracy>high", &["at character 10: 'high' is not a number", "quotes"]),
        ("accuracy>nan", &["'nan' is not a number"]),
        ("accuracy>1e999", &["is not a number"]),
        ("accuracy==1", &["at character 9: there is no comparison '=='; there are > >= < <= = !="]),
        ("hello!", &["there is no comparison '!'"]),
        ("a \"b c", &["at character 3: the quote that begins here does not end"]),
        ("\"\"", &["nothing is between the quotes"]),
        ("-", &["one '-' stands before"]),
        ("--a", &["one '-' stands before"]),
        ("a\"b\"", &["at character 2: a phrase in quotes has spaces around it"]),
        ("\"a\"b", &["at character 4: a phrase in quotes has spaces around it"]),
        ("\"tag\":x", &["a phrase in quotes has spaces around it"]),
        (&"x".repeat(1001), &["at most 1000 characters, and this one has 1001"]),
        (&many, &["at most 32 terms"]),
    ] {
        let error = text.parse::<Query>().expect_err(text).to_string();
        for part in parts {
            assert!(error.contains(part), "'{part}' is not in: {error}");
        }
    }
    assert_eq!(read(&"é ".repeat(32)).terms.len(), 32);
}

proptest! {
    #[test]
    fn no_text_panics_and_what_is_read_reads_back(
        text in "(-?(\\PC{0,6}|\"[a\\\\\" ]{0,5}\"|[a-z]{1,4}|tag:|label:|kind:typed|device:cuda:1|>=|<|=0.5|!=| )){0,12}"
    ) {
        if let Ok(query) = text.parse::<Query>() {
            let written = query.to_string();
            // A phrase grows by its backslashes, a letter by becoming lower case.
            if written.chars().count() <= MAX_CHARS {
                prop_assert_eq!(written.parse(), Ok(query));
            }
        }
    }
}
